"""Which module may import which: the rooms of docs/architecture.md, read from the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import camformer_tf

PACKAGE = Path(camformer_tf.__file__).parent
ROOMS = {
    "base": set(),  # the modules beside the rooms
    "data": {"base"},
    "metrics": {"base", "data"},
    "model": {"base", "data", "metrics"},
    "training": {"base", "data", "model", "metrics"},
    "evaluation": {"base", "data", "model", "metrics"},
    "tuning": {"base", "data", "model", "metrics", "training", "evaluation"},
    "serving": {"base", "data", "model", "evaluation"},
    "cli": {"base", "data", "model", "metrics", "training", "evaluation", "tuning", "serving"},
}
EXTRAS = (
    *("torch", "safetensors", "pyarrow", "matplotlib", "jinja2"),
    *("starlette", "uvicorn", "httptools", "prometheus_client", "grpc", "tensorflow_serving"),
    *("onnx", "tf2onnx", "ai_edge_litert"),
)
WITH_TENSORFLOW = {"data/dataset", "data/augment"}  # of the rooms below the model


def room(module: str) -> str:
    head = module.split("/")[0]
    return head if head in ROOMS else "base"


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


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_the_rooms_below_it(module):
    for name in imports(module, top_only=False):
        if name.startswith("camformer_tf."):
            other = room(name.removeprefix("camformer_tf.").replace(".", "/"))
            assert other in ROOMS[room(module)] | {room(module)}, f"{module} imports {name}"


@pytest.mark.parametrize(
    "module",
    [m for m in MODULES if room(m) in ("base", "data", "metrics", "evaluation", "cli")],
)
def test_tensorflow_is_imported_only_where_it_is_needed(module):
    if module in WITH_TENSORFLOW:
        return
    for name in imports(module, top_only=True):
        assert not name.startswith(("tensorflow", "keras")), f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_what_an_extra_installs_is_imported_where_it_is_used(module):
    for name in imports(module, top_only=True):
        assert not name.startswith(EXTRAS), f"{module} imports {name}"


def test_the_modules_of_the_base_do_not_import_in_a_circle():
    order = ["errors", "schema", "grid", "recipe", "progress", "remote", "rundir"]
    for i, module in enumerate(order):
        ours = {n.split(".")[1] for n in imports(module, top_only=False) if "camformer_tf." in n}
        assert ours <= set(order[:i])


@pytest.mark.parametrize("module", [m for m in MODULES if room(m) not in ("base", "cli")])
def test_modules_are_imported_and_not_names(module):
    for name in imports(module, top_only=False):
        if name.startswith("camformer_tf."):
            path = PACKAGE / name.removeprefix("camformer_tf.").replace(".", "/")
            assert path.with_suffix(".py").is_file() or path.is_dir(), f"{module} imports {name}"


COMMANDS = (
    "simulate build-records inspect-records verify-records export-records fit doctor import-torch "
    "predict evaluate export serve"
)


@pytest.mark.parametrize("command", ["", *COMMANDS.split()])
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
