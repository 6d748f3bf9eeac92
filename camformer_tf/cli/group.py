"""What all commands share: the group, kinds of paths, logs and progress."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

import camformer_tf
from camformer_tf import errors, progress, remote

PATH = click.Path(path_type=Path)


class _AnyPath(click.ParamType):
    """A path on this machine, or one beyond it that TensorFlow's file systems know."""

    name = "path"

    def convert(self, value, parameter, context):
        if "://" in value:
            start_tensorflow()
        return remote.path(value)


ANY_PATH = _AnyPath()  # gs://bucket/records and the like
option = functools.partial(click.option, show_default=True)


class Commands(click.Group):
    """Lists commands in the order of work, and shows a user's mistake without a traceback."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, context: click.Context):
        try:
            return super().invoke(context)
        except errors.UserError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(camformer_tf.__version__, prog_name="camformer-tf")
def main() -> None:
    """Train, judge and serve residual CNNs that predict expression from promoter sequence."""


def start_tensorflow() -> None:
    """Imports TensorFlow without its native start-up notices, which are no news to a user: some
    come before any log level is read, so standard error is turned away meanwhile. What is raised
    still shows, and so does a TF_CPP_MIN_LOG_LEVEL of the user's own."""
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        import keras  # noqa: F401
        import tensorflow  # noqa: F401
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def quiet(command: Callable) -> Callable:
    """Adds --quiet, and sends logs to standard error."""

    @option("--quiet", "-q", is_flag=True, help="No progress and no logs.")
    @functools.wraps(command)
    def run(*args, quiet: bool, **options):
        log = logging.getLogger("camformer_tf")
        log.handlers = [logging.StreamHandler(sys.stderr)]
        log.setLevel(logging.ERROR if quiet else logging.INFO)
        click.get_current_context().obj = quiet
        return command(*args, **options)

    return run


def report() -> progress.Report:
    """Returns how the current command reports progress."""
    if click.get_current_context().obj:
        return progress.silent
    return progress.bar() if sys.stderr.isatty() else progress.lines()
