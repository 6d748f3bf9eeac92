"""Commands of serving: export, and messages of mistakes."""

import pytest
from support import shell

MISTAKES = {
    "no run": (["export", "there", "out"], "there: there is no best.keras in it"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_one_message_and_leaves_no_file(mistakes, mistake):
    shell.check_mistake(mistakes, *MISTAKES[mistake])


def test_the_commands_of_the_tour_write_every_file(tour):
    assert {p.name for p in tour.iterdir()} == {"run", "p.tsv", "scores.json", "export"}
    assert (tour / "export" / "1" / "saved_model.pb").is_file()


def test_a_version_is_replaced_only_with_overwrite(tour, tmp_path):
    arguments = ("export", tour / "run", tmp_path / "export", "--version", 3, "--quiet")
    assert shell.call(*arguments).exit_code == 0
    result = shell.call(*arguments)
    assert result.exit_code == 1 and "--overwrite" in result.stderr
    assert shell.call(*arguments, "--overwrite").exit_code == 0


def test_serve_refuses_a_folder_without_a_version(mistakes):
    shell.check_mistake(mistakes, ["serve", "there"], "there: ")


def test_serve_check_needs_a_server(tour):
    result = shell.call("serve-check", "http://127.0.0.1:9", tour / "export", "--timeout", 1)
    assert result.exit_code == 1 and result.stderr.startswith("Error: ")
