"""Every module of the package has a test file of its name, and files stay small."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "camformer_tf"
WITHOUT_LOGIC = {"__init__", "__main__"}


def modules() -> list[Path]:
    """Returns the modules of the package, relative to it."""
    paths = (path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
    return sorted(path for path in paths if path.stem not in WITHOUT_LOGIC)


def modules_without_test() -> list[str]:
    """Returns the modules ROOM/NAME.py that have no test file tests/ROOM/test_NAME.py."""
    return [
        str(path)
        for path in modules()
        if not (ROOT / "tests" / path.parent / f"test_{path.name}").is_file()
    ]


def test_every_module_has_a_test_file_of_its_name():
    assert modules_without_test() == []


def test_the_architecture_page_names_every_file_in_its_room():
    room, names = Path("."), set()
    for line in (ROOT / "docs" / "architecture.md").read_text().splitlines():
        if match := re.match(r"  (\w+)/ ", line):
            room = Path(match[1])
        elif match := re.match(r" +([\w.]+\.py) ", line):
            names.add(room / match[1])
    assert names == set(modules())


def test_every_test_file_holds_a_test():
    for path in (ROOT / "tests").rglob("test_*.py"):
        assert "def test_" in path.read_text(), path


def test_no_file_of_the_package_is_longer_than_340_lines():
    lengths = {path: len((PACKAGE / path).read_text().splitlines()) for path in modules()}
    assert not {str(path): length for path, length in lengths.items() if length > 340}
