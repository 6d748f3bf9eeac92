"""What is shipped: a wheel that works where the checkout is not."""

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import camformer_tf
from camformer_tf import recipe

ROOT = Path(__file__).parents[1]


def test_every_package_is_listed():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    found = {
        ".".join(p.parent.relative_to(ROOT).parts) for p in ROOT.glob("camformer_tf/**/__init__.py")
    }
    assert listed == found | {"camformer_tf.configs"}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Path:
    """A wheel of a copy of the tree, unpacked; built with what is installed, nothing is fetched."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if tracked.returncode:
        pytest.skip("a checkout of git is needed to tell what is shipped")
    for name in tracked.stdout.split("\0"):
        if name.startswith(("camformer_tf/", "configs/")) or name in (
            "setup.cfg", "pyproject.toml", "README.md", "LICENSE"
        ):  # fmt: skip
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--wheel-dir", str(folder), str(tree)],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    assert wheel.name == f"camformer_tf-{camformer_tf.__version__}-py3-none-any.whl"
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def run(unpacked: Path, *arguments) -> subprocess.CompletedProcess:
    """Runs the wheel's command line from a folder without a checkout."""
    program = f"import sys; sys.path.insert(0, {str(unpacked)!r}); from camformer_tf import cli; cli.main()"  # noqa: E501
    return subprocess.run(
        [sys.executable, "-I", "-c", program, *map(str, arguments)],
        cwd=unpacked, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


def test_the_recipes_are_in_the_wheel(unpacked):
    names = {path.stem for path in (unpacked / "camformer_tf" / "configs").glob("*.yaml")}
    assert names == set([*recipe.shipped_files(), recipe.SEARCH])


def test_the_wheel_fits_a_recipe_by_name(unpacked, library, tmp_path):
    done = run(unpacked, "fit", "smoke", library, tmp_path / "run", "--set", "train.epochs=1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "best.keras").is_file()


def test_the_wheel_names_its_recipes_when_asked_for_another(unpacked, library, tmp_path):
    done = run(unpacked, "fit", "orignal", library, tmp_path / "run")
    assert done.returncode == 1
    assert "Did you mean original?" in done.stderr
    assert "large, mini, original, small, smoke" in done.stderr
