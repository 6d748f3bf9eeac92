"""Runs commands in the process of a test."""

import click.testing

from camformer_tf import cli

SEQUENCE = "TGCATTTTTTTCACATC" + "ACGT" * 20 + "GGTTACGGCTGTT"
GOOD = "".join(f"{SEQUENCE[:-2]}{a}{b}\t{len(a + b)}.5\n" for a in "ACGT" for b in "ACGT")
FILES = {  # name → text, of the fixture `mistakes`
    "good.txt": GOOD,
    "empty.txt": "",
    "header.txt": "sequence\texpression\n" + GOOD,
    "x.txt": "\n".join([*GOOD.splitlines()[:2], f"{SEQUENCE[:-1]}X\t1"]),
    "column.txt": f"{SEQUENCE}\t1\n{SEQUENCE}\n",
    "nan.txt": f"{SEQUENCE}\tnan\n",
    "typo.yaml": "model: {blocks: [{filters: 8, kernel: 3}, {filters: 8, kernel: 3}]}\n"
    "train: {epoch: 3}\n",
}


def call(*arguments: object, **options) -> click.testing.Result:
    """Runs a command; an exception that is not a message fails the test."""
    runner = click.testing.CliRunner()
    return runner.invoke(cli.main, [str(a) for a in arguments], catch_exceptions=False, **options)


def check_mistake(folder, arguments: list[str], message: str) -> None:
    """Asserts that a command fails with one message, and that no file of the folder changes."""
    contents = {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}
    result = call(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ") and message in result.stderr
    assert contents == {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}
