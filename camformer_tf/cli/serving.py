"""Commands that serve a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from camformer_tf.cli import group
from camformer_tf.server import options as server_options

_DEFAULT = server_options.ServerOptions()


@group.command("export", example="camformer-tf export runs/mini exports/mini")
@click.argument("models", nargs=-1, required=True, type=group.PATH, metavar="MODEL...")
@click.argument("out_dir", type=group.PATH)
@group.option(
    "--version",
    type=click.IntRange(1),
    help="Number of the version. Default: one above the newest.",
)
@group.option(
    "--calibration",
    type=group.PATH,
    help="Calibration of these models, as `calibrate` writes it. Default: the one in the run.",
)
@group.option(
    "--format",
    default="savedmodel",
    type=click.Choice(["savedmodel", "keras", "onnx", "litert"]),
    help="For TensorFlow Serving, Keras, ONNX Runtime or LiteRT.",
)
@group.option("--overwrite", is_flag=True, help="Replace --version N if it exists.")
@group.quiet
def export(
    models: tuple[Path, ...],
    out_dir: Path,
    version: int | None,
    calibration: Path | None,
    format: str,
    overwrite: bool,
) -> None:
    """Write models for serving.

    MODELs (runs or .keras files) are written to OUT_DIR/VERSION, several as one model.
    """
    group.start_tensorflow()
    from camformer_tf.export import export as export_room

    folder = export_room.export(
        models,
        out_dir,
        version=version,
        calibration=calibration,
        format=format,
        overwrite=overwrite,
    )
    click.echo(f"{folder}: {format} written")


def _labels(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, int]:
    labels = {}
    for value in values:
        label, _, version = value.partition("=")
        if not label or not _is_version(version) or set(label) & set("/:"):
            raise click.BadParameter(f"{value!r}: expected LABEL=VERSION, as in stable=1.")
        labels[label] = int(version)
    return labels


def _is_version(text: str) -> bool:
    return text.isascii() and text.isdigit()


@group.command("serve", example="camformer-tf serve exports/mini --port 8501")
@click.argument("export_dir", type=group.PATH)
@group.option(
    "--host", default=_DEFAULT.host, help="Address to listen on; 0.0.0.0 accepts other machines."
)
@group.option(
    "--port",
    default=_DEFAULT.port,
    type=click.IntRange(0, 65535),
    help="Port of REST and of the page; 0 takes a free one.",
)
@group.option(
    "--grpc-port",
    type=click.IntRange(0, 65535),
    help="Port of gRPC; 0 takes a free one. Default: no gRPC.",
)
@group.option("--name", default=_DEFAULT.name, help="Name of the model in URLs.")
@group.option(
    "--label",
    "labels",
    metavar="LABEL=VERSION",
    multiple=True,
    callback=_labels,
    help="Label of a version, which stays loaded beside the newest.",
)
@group.option(
    "--max-batch-size",
    default=_DEFAULT.max_batch_size,
    type=click.IntRange(1),
    help="Maximum number of sequences in one call of the model.",
)
@group.option(
    "--batch-timeout-ms",
    default=_DEFAULT.batch_timeout_ms,
    type=click.FloatRange(0),
    help="Time that a call waits for more sequences.",
)
@group.option(
    "--max-queue",
    default=_DEFAULT.max_queue,
    type=click.IntRange(1),
    help="Maximum number of sequences in the queue; more are refused with 503.",
)
@group.option(
    "--max-request-bytes",
    default=_DEFAULT.max_request_bytes,
    type=click.IntRange(1024),
    help="Maximum size of a request.",
)
@group.option(
    "--timeout",
    default=_DEFAULT.timeout,
    type=click.FloatRange(0, min_open=True),
    help="Time limit of a request, and of stopping (seconds).",
)
@group.option(
    "--poll",
    default=_DEFAULT.poll,
    type=click.FloatRange(0, min_open=True),
    help="Time between two looks for new versions (seconds).",
)
@group.option(
    "--cors",
    metavar="ORIGIN",
    help="Origin whose pages may read the answers in a browser; * for any.",
)
@group.quiet
def serve(export_dir: Path, **options: Any) -> None:
    """Serve an export over REST and gRPC.

    The protocol is TensorFlow Serving's, and there is a page for the browser. The newest version
    that loads is served; a newer one takes its place as soon as it loads.
    """
    group.start_tensorflow()
    from camformer_tf.server import server

    with server.serve(export_dir, **options) as running:
        running.catch_signals()
        grpc = f", gRPC at {running.grpc}" if running.grpc else ""
        click.echo(f"{export_dir}: page and REST at {running.url}/{grpc}")
        running.wait()


@group.command("serve-check", example="camformer-tf serve-check http://127.0.0.1:8501 exports/mini")
@click.argument("url")
@click.argument("export_dir", type=group.PATH)
@group.option(
    "--timeout",
    default=60.0,
    type=click.FloatRange(0, min_open=True),
    help="Seconds for each answer.",
)
@group.quiet
def serve_check(url: str, export_dir: Path, timeout: float) -> None:
    """Compare a server with its export.

    The golden sequences of EXPORT_DIR are sent to the server at URL, http:// or grpc://. An answer
    that differs from the exported one is an error.
    """
    group.start_tensorflow()
    from camformer_tf.client import check

    click.echo(check.serve_check(url, export_dir, timeout=timeout).summary())
