"""Which module may import which: the rooms of docs/architecture.md, read from the source."""

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
    "tuning": {"base", "data", "model", "pages", "training"},
    "export": {"base", "data", "model"},
    "server": {"base"},
    "client": {"base", "data"},
    "cli": {
        *("base", "client", "data", "evaluation", "export", "metrics", "model", "server"),
        *("simulation", "training", "tuning"),
    },
}
SERVER_BASE = {"errors", "exportdir"}  # of the base, all that the server may know
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
    found = set()
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported_modules(module: str) -> set[str]:
    """Returns which of our modules a module imports, late imports included: "data/text"."""
    names = imports(module, top_only=False)
    ours = {n.removeprefix("camformer_tf.") for n in names if n.startswith("camformer_tf.")}
    return {name.replace(".", "/") for name in ours}


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_just_the_rooms_of_its_row(name):
    found = {
        room(imported): module
        for module in MODULES
        if room(module) == name
        for imported in imported_modules(module)
    }
    found.pop(name, None)
    assert set(found) == ROOMS[name], found


def test_the_server_knows_of_the_base_only_errors_and_exportdir():
    modules = [module for module in MODULES if room(module) == "server"]
    found = {name for module in modules for name in imported_modules(module)}
    assert {name for name in found if room(name) == "base"} == SERVER_BASE


def test_no_module_imports_in_a_circle():
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"a circle: {' -> '.join([*path, module])}"
        if module in done:
            return
        for name in imported_modules(module) & set(MODULES):
            visit(name, (*path, module))
        done.add(module)

    for module in MODULES:
        visit(module, ())
    assert done == set(MODULES)


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
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert "Usage:" in done.stdout
    assert done.stderr.strip() == "[]"
