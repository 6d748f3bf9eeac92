from pathlib import Path

import pytest
from support import shell


@pytest.fixture(scope="session")
def tour(library, tmp_path_factory) -> Path:
    """A folder after all steps: run (on `library`), predictions, scores, export."""
    folder = tmp_path_factory.mktemp("tour")
    quick = ["--set", "train.epochs=1", "--quiet"]
    for arguments in [
        ("fit", "smoke", library, folder / "run", *quick),
        ("predict", folder / "run", library, folder / "p.tsv", "--split", "val", "--quiet"),
        ("evaluate", folder / "p.tsv", "--out", folder / "scores.json"),
        ("export", folder / "run", folder / "export"),
    ]:
        result = shell.call(*arguments)
        assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def mistakes(tmp_path, monkeypatch) -> Path:
    """The current folder: files with mistakes, and an empty folder named "there"."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    for name, text in shell.FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path
