"""The wheel: complete, and it works without the checkout."""

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import camformer_tf
from camformer_tf import recipe

ROOT = Path(__file__).parents[1]


def test_every_package_is_listed():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    packages = set(setup["options"]["packages"].split())
    folders = {
        ".".join(p.parent.relative_to(ROOT).parts) for p in ROOT.glob("camformer_tf/**/__init__.py")
    }
    assert packages == folders | {"camformer_tf.configs"}


@pytest.fixture(scope="module")
def wheel_folder(tmp_path_factory) -> Path:
    """An unpacked wheel of a copy of the tree, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if files.returncode:
        pytest.skip("needs a git checkout, to list the files of the package")
    for name in files.stdout.split("\0"):
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


def run(wheel_folder: Path, *arguments) -> subprocess.CompletedProcess:
    """Runs the wheel's command line from a folder without a checkout."""
    program = f"import sys; sys.path.insert(0, {str(wheel_folder)!r}); from camformer_tf import cli; cli.main()"  # noqa: E501
    return subprocess.run(
        [sys.executable, "-I", "-c", program, *map(str, arguments)],
        cwd=wheel_folder, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


def test_the_recipes_are_in_the_wheel(wheel_folder):
    names = {path.stem for path in (wheel_folder / "camformer_tf" / "configs").glob("*.yaml")}
    assert names == set([*recipe.shipped_files(), recipe.SEARCH])


def test_types_templates_and_pages_are_in_the_wheel(wheel_folder):
    for path in (
        "py.typed",
        "__init__.pyi",
        "pages/templates/report.html",
        "server/page/index.html",
    ):
        assert (wheel_folder / "camformer_tf" / path).is_file()


def test_every_tool_of_a_hook_is_in_the_development_extra():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    tools = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in hooks}
    assert tools == {"ruff", "mypy", "codespell"}
    assert all(f"\n{tool} >=" in extras["test"] for tool in tools)
    assert "camformer-tf[test,docs]" in extras["dev"]


def test_the_citation_names_the_version_and_its_date_in_the_changelog():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == camformer_tf.__version__
    assert (
        f"## [{citation['version']}] - {citation['date-released']}"
        in (ROOT / "CHANGELOG.md").read_text()
    )


def test_the_wheel_fits_a_recipe_by_name(wheel_folder, library, tmp_path):
    process = run(
        wheel_folder, "fit", "smoke", library, tmp_path / "run", "--set", "train.epochs=1"
    )
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "run" / "best.keras").is_file()


def test_the_wheel_names_its_recipes_when_asked_for_another(wheel_folder, library, tmp_path):
    process = run(wheel_folder, "fit", "orignal", library, tmp_path / "run")
    assert process.returncode == 1
    assert "Did you mean original?" in process.stderr
    assert "large, mini, original, small, smoke" in process.stderr
