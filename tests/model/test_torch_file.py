"""State dicts in checkpoints, read without running code of the file."""

import os
import pickle
import sys
from pathlib import Path

import pytest

from camformer_tf import errors
from camformer_tf.model import torch_file


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


class Command:
    """Pickled, it asks to make the folder `ran` when it is opened."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize(("module", "name"), [("torch", "a.pt"), ("safetensors", "a.safetensors")])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    tmp_path, monkeypatch, module, name
):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, f"{module}.numpy", None)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(errors.UserError, match=f'pip install "?{module}'):
        torch_file.read(tmp_path / name)


@pytest.mark.torch
@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pickled_module_is_refused_with_advice(torch, tmp_path, is_zip):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt",
               _use_new_zipfile_serialization=is_zip)  # fmt: skip
    with pytest.raises(errors.UserError, match="torch.nn.modules.linear.Linear") as error:
        torch_file.read(tmp_path / "model.pt")
    assert 'torch.load("model.pt", map_location="cpu", weights_only=False)' in str(error.value)
    assert 'torch.save(model.state_dict(), "state_dict.pt")' in str(error.value)


@pytest.mark.torch
@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_code_in_a_file_is_not_run(torch, tmp_path, monkeypatch, writer):
    monkeypatch.chdir(tmp_path)
    if writer == "torch":
        torch.save({"CNN_layers.0.0.weight": Command()}, "evil.pt")
    else:
        Path("evil.pt").write_bytes(pickle.dumps(Command(), protocol=2))
    with pytest.raises(errors.UserError, match="evil.pt: (is|contains)"):
        torch_file.read(Path("evil.pt"))
    assert not Path("ran").exists()
    pickle.loads(pickle.dumps(Command()))
    assert Path("ran").exists()  # when pickle opens it


@pytest.mark.torch
def test_a_torch_that_may_run_code_is_refused(torch, tmp_path, monkeypatch):
    torch.save({}, tmp_path / "w.pt")
    monkeypatch.setattr(torch, "__version__", type(torch.__version__)("2.5.1+cpu"))
    with pytest.raises(errors.UserError, match="PyTorch 2.5.1.*CVE-2025-32434"):
        torch_file.read(tmp_path / "w.pt")


@pytest.mark.torch
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "contains a single list"),
        ({"epoch": 3}, "its entry 'epoch' is not a tensor but int"),
        ({"state_dict": {3: None}}, "its entry 3 is not a tensor but NoneType"),
    ],
)
def test_anything_but_a_state_dict_is_refused(torch, tmp_path, content, message):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(errors.UserError, match=message):
        torch_file.read(tmp_path / "w.pt")


@pytest.mark.torch
def test_a_damaged_file_is_refused(torch, tmp_path):
    torch.save({"a": torch.zeros(100)}, tmp_path / "w.pt")
    data = (tmp_path / "w.pt").read_bytes()
    for content in (b"", b"hello\n", data[:-40], data[: len(data) // 2], b"PK" + data[:50]):
        (tmp_path / "w.pt").write_bytes(content)
        with pytest.raises(errors.UserError, match="w.pt: is damaged or not a file of torch.save"):
            torch_file.read(tmp_path / "w.pt")
