"""Shared parts of all commands: the group, types of paths, options, logs and progress."""

from __future__ import annotations

import functools
import json
import logging
import os
import select
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click import shell_completion

import camformer_tf
from camformer_tf import backend, errors, progress, recipe, remote

PATH = click.Path(path_type=Path)
OUTPUT = click.Path(path_type=Path, allow_dash=True)  # a table or text; - is standard output


class _AnyPath(click.ParamType):
    """A local path, or a remote one of TensorFlow's file systems."""

    name = "path"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path | remote.Remote:
        if "://" in str(value):
            start_tensorflow()
        return remote.path(str(value))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[shell_completion.CompletionItem]:
        """Asks the shell to complete paths."""
        return [shell_completion.CompletionItem(incomplete, type="file")]


class _RecipeType(click.ParamType):
    """A recipe: a path, or the name of a shipped one, which shells complete."""

    name = "recipe"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[shell_completion.CompletionItem]:
        """Returns the shipped names that match, and asks the shell to complete paths too."""
        names = [name for name in recipe.shipped_files() if name.startswith(incomplete)]
        items = [shell_completion.CompletionItem(name) for name in names]
        return [*items, shell_completion.CompletionItem(incomplete, type="file")]


ANY_PATH = _AnyPath()  # such as gs://bucket/records
RECIPE = _RecipeType()
option = functools.partial(click.option, show_default=True)
overwrite = option("--overwrite", is_flag=True, help="Replace the output if it exists.")
json_output = option("--json", "as_json", is_flag=True, help="Print JSON.")


class Command(click.Command):
    """A command whose help ends with an example."""

    def __init__(self, *args: Any, example: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the example, one line for each of its lines."""
        with formatter.section("Example"):
            for line in self.example.strip().splitlines():
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def command(name: str, *, example: str) -> Callable[[Callable], Command]:
    """Returns the decorator of a command: its name, and an example that the tests parse."""
    return click.command(name, cls=Command, example=example)


class Commands(click.Group):
    """Lists commands in the order of work, and shows a user's mistake without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names in the order in which they were added."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command; when the reader of standard output is gone, it ends with status 0."""
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:  # None where the shell has closed it
                sys.stdout.flush()  # now, since at the exit of Python an error would be printed
        except errors.UserError as error:
            raise click.ClickException(str(error)) from error
        except BrokenPipeError as error:
            if not _reader_is_gone():
                raise click.ClickException(f"a connection broke ({error}). Try again.") from error
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        return result


def _reader_is_gone() -> bool:
    """Returns whether standard output is a pipe with no reader, as in `camformer-tf … | head`."""
    if not hasattr(select, "poll"):  # Windows
        return True
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(camformer_tf.__version__, prog_name="camformer-tf")
def main() -> None:
    """Predict gene expression from promoter sequence: train, evaluate, serve."""


def start_tensorflow() -> None:
    """Imports TensorFlow without its native start-up notices, which do not help a user.

    Some of them appear before TensorFlow reads any log level, so standard error is closed during
    the import. Exceptions still appear. A TF_CPP_MIN_LOG_LEVEL of the user is respected.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr.flush()
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, 2)
        backend.require_tensorflow()
        import tensorflow  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(devnull)


def quiet(function: Callable) -> Callable:
    """Adds --quiet, and sends logs to standard error."""

    @option("--quiet", "-q", is_flag=True, help="No progress and no logs.")
    @functools.wraps(function)
    def run(*args: Any, quiet: bool, **options: Any) -> Any:
        log = logging.getLogger("camformer_tf")
        log.handlers = [logging.StreamHandler(sys.stderr)]
        log.setLevel(logging.ERROR if quiet else logging.INFO)
        click.get_current_context().obj = quiet
        return function(*args, **options)

    return run


def is_quiet() -> bool:
    """Returns whether the current command has --quiet."""
    return bool(click.get_current_context().obj)


def report() -> progress.Report:
    """Returns the progress report of the current command."""
    if is_quiet():
        return progress.silent
    return progress.bar() if sys.stderr.isatty() else progress.lines()


def print_json(value: Any) -> None:
    """Prints a value as indented JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
