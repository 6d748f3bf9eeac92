import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from camformer_tf import errors, files, remote


def tree(folder: Path) -> dict[str, str]:
    """Returns the files below a folder, hidden ones too: path → text."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_text() for path in paths}


def folder_with(path: Path, **contents: str) -> Path:
    path.mkdir()
    for name, text in contents.items():
        (path / name).write_text(text)
    return path


# --- new_file ---


def test_a_new_file_takes_its_name_at_the_end(tmp_path):
    path = tmp_path / "out.txt"
    with files.new_file(path) as temporary:
        temporary.write_text("new")
        assert not path.exists() and temporary.parent == tmp_path
    assert tree(tmp_path) == {"out.txt": "new"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_no_file(tmp_path, error):
    with pytest.raises(error), files.new_file(tmp_path / "out.txt") as temporary:
        temporary.write_text("half")
        raise error
    assert not os.listdir(tmp_path)


def test_a_file_that_was_not_written_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError), files.new_file(tmp_path / "out.txt"):
        pass
    assert not os.listdir(tmp_path)


def test_an_existing_file_is_refused_before_any_work(tmp_path):
    (tmp_path / "out.txt").write_text("old")
    with pytest.raises(
        errors.UserError, match="out.txt: exists already. Choose another name, or pass --overwrite."
    ):
        files.new_file(tmp_path / "out.txt").__enter__()
    assert tree(tmp_path) == {"out.txt": "old"}


def test_an_existing_file_is_replaced_with_overwrite(tmp_path):
    (tmp_path / "out.txt").write_text("old")
    with files.new_file(tmp_path / "out.txt", overwrite=True) as temporary:
        temporary.write_text("new")
        assert tree(tmp_path)["out.txt"] == "old"
    assert tree(tmp_path) == {"out.txt": "new"}


def test_an_old_file_survives_a_failure_with_overwrite(tmp_path):
    (tmp_path / "out.txt").write_text("old")
    with (
        pytest.raises(ValueError),
        files.new_file(tmp_path / "out.txt", overwrite=True) as temporary,
    ):
        temporary.write_text("half")
        raise ValueError
    assert tree(tmp_path) == {"out.txt": "old"}


@pytest.mark.parametrize("new", [files.new_file, files.new_folder])
def test_a_missing_parent_is_named(tmp_path, new):
    path = tmp_path / "nowhere" / "out"
    with pytest.raises(errors.UserError, match=f"the folder {path.parent} does not exist. Create"):
        new(path).__enter__()
    assert not os.listdir(tmp_path)


def test_names_without_a_folder_are_in_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with files.new_file(Path("a")) as file, files.new_folder(Path("b")) as folder:
        file.write_text("1")
        (folder / "c").write_text("2")
    assert tree(tmp_path) == {"a": "1", "b/c": "2"}


# --- new_folder ---


def test_a_new_folder_takes_its_name_at_the_end(tmp_path):
    path = tmp_path / "out"
    with files.new_folder(path) as temporary:
        (temporary / "a").write_text("new")
        assert not path.exists() and temporary.parent == tmp_path
    assert tree(tmp_path) == {"out/a": "new"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_no_folder(tmp_path, error):
    with pytest.raises(error), files.new_folder(tmp_path / "out") as temporary:
        (temporary / "a").write_text("half")
        raise error
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("contents", [{}, {"mark": "1"}, {"other": "1"}])
def test_an_existing_folder_is_refused_without_overwrite(tmp_path, contents):
    path = folder_with(tmp_path / "out", **contents)
    with pytest.raises(errors.UserError, match="out: exists already. Choose another name"):
        files.new_folder(path, marker="mark").__enter__()
    assert tree(path) == contents and os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("contents", [{}, {"mark": "1", "a": "2"}])
def test_a_marked_or_empty_folder_is_replaced_with_overwrite(tmp_path, contents):
    path = folder_with(tmp_path / "out", **contents)
    with files.new_folder(path, overwrite=True, marker="mark") as temporary:
        (temporary / "b").write_text("new")
        assert tree(path) == contents
    assert tree(tmp_path) == {"out/b": "new"} and os.listdir(tmp_path) == ["out"]


def test_a_folder_without_the_mark_is_never_replaced(tmp_path):
    path = folder_with(tmp_path / "out", thesis="years of work")
    with pytest.raises(
        errors.UserError, match="out: there is no mark in it, so it is not replaced"
    ):
        files.new_folder(path, overwrite=True, marker="mark").__enter__()
    assert tree(tmp_path) == {"out/thesis": "years of work"}


def test_a_file_is_never_replaced_by_a_folder(tmp_path):
    (tmp_path / "out").write_text("old")
    with pytest.raises(errors.UserError, match="out: there is no mark in it"):
        files.new_folder(tmp_path / "out", overwrite=True, marker="mark").__enter__()
    assert tree(tmp_path) == {"out": "old"}


def test_an_old_folder_survives_a_failure_with_overwrite(tmp_path):
    path = folder_with(tmp_path / "out", mark="1")
    with (
        pytest.raises(ValueError),
        files.new_folder(path, overwrite=True, marker="mark") as temporary,
    ):
        (temporary / "a").write_text("half")
        raise ValueError
    assert tree(tmp_path) == {"out/mark": "1"} and os.listdir(tmp_path) == ["out"]


def test_a_folder_that_another_process_wrote_in_the_meantime_is_not_replaced(tmp_path):
    with (
        pytest.raises(errors.UserError, match="out: exists already"),
        files.new_folder(tmp_path / "out") as temporary,
    ):
        (temporary / "a").write_text("new")
        folder_with(tmp_path / "out", b="other")
    assert tree(tmp_path) == {"out/b": "other"} and os.listdir(tmp_path) == ["out"]


def test_a_folder_behind_a_link_is_replaced_and_the_link_stays(tmp_path):
    folder_with(tmp_path / "real", mark="1")
    (tmp_path / "out").symlink_to("real")
    with files.new_folder(tmp_path / "out", overwrite=True, marker="mark") as temporary:
        (temporary / "b").write_text("new")
    assert (tmp_path / "out").is_symlink() and tree(tmp_path / "real") == {"b": "new"}
    assert sorted(os.listdir(tmp_path)) == ["out", "real"]


def test_the_current_folder_is_replaced_if_it_is_marked(tmp_path, monkeypatch):
    path = folder_with(tmp_path / "out", mark="1")
    monkeypatch.chdir(path)
    with files.new_folder(Path("."), overwrite=True, marker="mark") as temporary:
        (temporary / "b").write_text("new")
    assert tree(tmp_path) == {"out/b": "new"}


def test_a_refusal_names_the_path_as_the_user_wrote_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    with pytest.raises(errors.UserError, match=re.escape("out: exists already")) as info:
        files.new_folder(Path("out")).__enter__()
    assert str(tmp_path) not in str(info.value)


# --- text_output ---


def test_a_text_is_written_in_utf8_with_line_feeds(tmp_path):
    with files.text_output(tmp_path / "out.csv") as file:
        file.write("µ,1\n")
        assert not (tmp_path / "out.csv").exists()
    assert (tmp_path / "out.csv").read_bytes() == "µ,1\n".encode()


def test_a_dash_is_standard_output(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with files.text_output(Path("-")) as file:
        file.write("a\n")
    assert capsys.readouterr().out == "a\n" and not os.listdir(tmp_path)


def test_standard_output_is_flushed_so_that_a_closed_pipe_shows(monkeypatch):
    class ClosedPipe(io.StringIO):
        def flush(self):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", ClosedPipe())
    with pytest.raises(BrokenPipeError), files.text_output(Path("-")) as file:
        file.write("a\n")


def test_a_text_is_replaced_only_with_overwrite(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(errors.UserError, match="out.txt: exists already"):
        files.text_output(path).__enter__()
    with files.text_output(path, overwrite=True) as file:
        file.write("new")
    assert tree(tmp_path) == {"out.txt": "new"}


def test_a_failure_leaves_no_text(tmp_path):
    with pytest.raises(ValueError), files.text_output(tmp_path / "out.txt") as file:
        file.write("half")
        raise ValueError
    assert not os.listdir(tmp_path)


# --- table_format ---

FORMATS = {".tsv": "tsv", ".csv": "csv", ".parquet": "parquet"}


@pytest.mark.parametrize(
    "name, expected",
    [
        ("out.csv", "csv"),
        ("a/b.CSV", "csv"),
        ("out.v2.parquet", "parquet"),
        ("out.txt", "tsv"),
        ("out", "tsv"),
        ("csv", "tsv"),
        ("-", "tsv"),
    ],
)
def test_the_suffix_chooses_the_format(name, expected):
    assert files.table_format(Path(name), FORMATS, "tsv") == expected


def test_the_suffix_of_a_remote_table_chooses_its_format():
    path = remote.path("gs://bucket.csv/out.parquet")
    assert files.table_format(path, FORMATS, "tsv") == "parquet"


# --- lock ---


def test_a_path_is_locked_for_one_process_at_once(tmp_path):
    path = tmp_path / "run"
    with files.lock(path):
        assert files.is_locked(path)
        with (
            pytest.raises(errors.UserError, match="run: another process is training it. Wait"),
            files.lock(path),
        ):
            pass
    assert not files.is_locked(path) and not os.listdir(tmp_path)


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    program = (
        "import os, pathlib, sys; from camformer_tf import files\n"
        "context = files.lock(pathlib.Path(sys.argv[1])); context.__enter__(); os._exit(9)\n"
    )
    path = tmp_path / "run"
    assert subprocess.run([sys.executable, "-c", program, path], timeout=60).returncode == 9
    assert os.listdir(tmp_path) == [".run.lock"] and not files.is_locked(path)
    with files.lock(path):
        pass
