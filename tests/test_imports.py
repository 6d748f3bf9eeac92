"""Which room may import which, read from the source: the arrows of docs/architecture.md."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import camformer_tf
from camformer_tf import cli

PACKAGE = Path(camformer_tf.__file__).parent
ROOMS = {  # each with the rooms that it imports, no more and no fewer
    "base": set(),  # the modules beside the rooms
    "data": {"base"},
    "simulation": {"base"},
    "metrics": {"base", "data"},
    "batches": {"base", "data"},
    "model": {"base", "data", "metrics"},
    "pages": {"base", "metrics"},
    "training": {"base", "batches", "data", "metrics", "model"},
    "evaluation": {"base", "data", "metrics", "model", "pages"},
    "tuning": {"base", "data", "pages", "training"},
    "export": {"base", "data", "model"},
    "server": {"base"},
    "client": {"base", "data", "model"},
    "cli": {
        *("base", "client", "data", "evaluation", "export", "model", "server", "simulation"),
        *("training", "tuning"),
    },
}
SERVER_BASE = {"errors", "exportdir", "progress"}  # the server imports no more of the base
EXTRAS = (
    *("torch", "safetensors", "pyarrow", "matplotlib", "jinja2"),
    *("starlette", "uvicorn", "httptools", "prometheus_client"),
    *("grpc", "tensorflow_serving", "onnx", "tf2onnx", "ai_edge_litert"),
)
WITHOUT_TENSORFLOW = (  # rooms whose modules import it within functions alone
    *("base", "data", "simulation", "metrics", "pages", "evaluation", "cli"),
)


def room(module: str) -> str:
    head = module.split("/")[0]
    return "cli" if head == "__main__" else head if head in ROOMS else "base"


MODULES = sorted(
    str(path.relative_to(PACKAGE).with_suffix(""))
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
)


def imports(module: str, *, top_only: bool) -> set[str]:
    """Returns what a module imports: dotted names; "a.b.c" for `from a.b import c`."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    names = set()
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_modules(module: str) -> set[str]:
    """Returns which of our modules a module imports, late imports included: "data/text"."""
    names = imports(module, top_only=False)
    prefix = "camformer_tf."
    return {n.removeprefix(prefix).replace(".", "/") for n in names if n.startswith(prefix)}


def imported_rooms(name: str) -> dict[str, str]:
    """Returns the other rooms that a room imports, each with a module that imports it."""
    return {
        room(target): module
        for module in MODULES
        if room(module) == name
        for target in imported_modules(module)
        if room(target) != name
    }


def circles() -> list[str]:
    """Returns the circles of imports between modules: "a -> b -> a"."""
    paths: list[str] = []
    finished_modules: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        if module in path:
            paths.append(" -> ".join([*path[path.index(module) :], module]))
        elif module not in finished_modules:
            for name in sorted(imported_modules(module) & set(MODULES)):
                visit(name, (*path, module))
            finished_modules.add(module)

    for module in MODULES:
        visit(module, ())
    return paths


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_exactly_the_rooms_of_its_row(name):
    rooms = imported_rooms(name)
    assert set(rooms) == ROOMS[name], rooms


def test_the_server_imports_of_the_base_only_errors_exportdir_and_progress():
    modules = [module for module in MODULES if room(module) == "server"]
    names = {name for module in modules for name in imported_modules(module)}
    assert {name for name in names if room(name) == "base"} <= SERVER_BASE


def test_no_module_imports_in_a_circle():
    assert circles() == []


@pytest.mark.parametrize("module", [m for m in MODULES if room(m) in WITHOUT_TENSORFLOW])
def test_tensorflow_is_imported_only_where_it_is_needed(module):
    for name in imports(module, top_only=True):
        assert not name.startswith(("tensorflow", "keras")), f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_what_an_extra_installs_is_imported_where_it_is_used(module):
    for name in imports(module, top_only=True):
        assert not name.startswith(EXTRAS), f"{module} imports {name}"


@pytest.mark.parametrize("module", [m for m in MODULES if room(m) not in ("base", "cli")])
def test_modules_are_imported_and_not_names(module):
    for name in imports(module, top_only=False):
        if name.startswith("camformer_tf."):
            path = PACKAGE / name.removeprefix("camformer_tf.").replace(".", "/")
            assert path.with_suffix(".py").is_file() or path.is_dir(), f"{module} imports {name}"


@pytest.mark.parametrize("command", ["", *cli.main.commands])
def test_help_imports_neither_tensorflow_nor_numpy(command):
    program = (
        "import sys\n"
        "from camformer_tf import cli\n"
        f"try: cli.main({[*command.split(), '--help']})\n"
        "except SystemExit as e: assert e.code == 0\n"
        "slow = {'tensorflow', 'keras', 'numpy', 'scipy', 'pandas', 'tqdm'} & set(sys.modules)\n"
        "print(sorted(slow), file=sys.stderr)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert "Usage:" in process.stdout
    assert process.stderr.strip() == "[]"
