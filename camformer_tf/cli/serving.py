"""Commands that serve a model."""

from __future__ import annotations

from pathlib import Path

import click

from camformer_tf.cli import group
from camformer_tf.server import options as options_module

_DEFAULT = options_module.ServerOptions()


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
    type=click.Choice(["savedmodel", "onnx", "litert"]),
    help="For TensorFlow Serving, ONNX Runtime or LiteRT.",
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


def _labels(context, parameter, values: tuple[str, ...]) -> dict[str, int]:
    found = {}
    for value in values:
        label, _, version = value.partition("=")
        if not label or not version.isdecimal() or set(label) & set("/:"):
            raise click.BadParameter(f"{value!r}: expected LABEL=VERSION, as in stable=1.")
        found[label] = int(version)
    return found


@click.command()
@click.argument("export_dir", type=group.PATH)
@group.option("--host", default=_DEFAULT.host, help="0.0.0.0 listens to other machines, too.")
@group.option("--port", default=_DEFAULT.port, type=click.IntRange(0, 65535), help="0: any.")
@group.option("--grpc-port", type=click.IntRange(0, 65535), help="Also gRPC; 0: any free port.")
@group.option("--name", default=_DEFAULT.name, help="The model's, in paths.")
@group.option(
    "--label",
    "labels",
    metavar="LABEL=VERSION",
    multiple=True,
    callback=_labels,
    help="Another name of a version, which stays loaded beside the newest.",
)
@group.option(
    "--max-batch-size",
    default=_DEFAULT.max_batch_size,
    type=click.IntRange(1),
    help="Sequences in one call of the model.",
)
@group.option(
    "--batch-timeout-ms",
    default=_DEFAULT.batch_timeout * 1000,
    type=click.FloatRange(0),
    help="How long a call waits for more sequences.",
)
@group.option(
    "--max-queue",
    default=_DEFAULT.max_queue,
    type=click.IntRange(1),
    help="Sequences that wait; more are refused with 503.",
)
@group.option("--max-request-bytes", default=_DEFAULT.max_request_bytes, type=click.IntRange(1024))
@group.option(
    "--timeout",
    default=_DEFAULT.timeout,
    type=click.FloatRange(0, min_open=True),
    help="Of a request, and of stopping (seconds).",
)
@group.option(
    "--poll",
    default=_DEFAULT.poll,
    type=click.FloatRange(0, min_open=True),
    help="Looks for new versions so often (seconds).",
)
@group.option("--cors", metavar="ORIGIN", help="Pages of ORIGIN may read answers, too; * for all.")
@group.quiet
def serve(export_dir: Path, batch_timeout_ms: float, **options) -> None:
    """Serve EXPORT_DIR over TensorFlow Serving's REST and gRPC, with a page for the browser.

    The newest version that loads is served, and a newer one as soon as it is there.
    """
    group.start_tensorflow()
    from camformer_tf.server import server

    def ready(addresses: server.Addresses) -> None:
        rpc = f", gRPC at {addresses.grpc}" if addresses.grpc else ""
        click.echo(f"{export_dir}: page and REST at {addresses.http}/{rpc}")

    chosen = server.ServerOptions(batch_timeout=batch_timeout_ms / 1000, **options)
    server.run(export_dir, chosen, ready)


@click.command("serve-check")
@click.argument("url")
@click.argument("export_dir", type=group.PATH)
@group.option(
    "--timeout", default=60.0, type=click.FloatRange(0, min_open=True), help="Seconds an answer."
)
@group.quiet
def serve_check(url: str, export_dir: Path, timeout: float) -> None:
    """Ask the server at URL, http:// or grpc://, the golden sequences of EXPORT_DIR.

    Any difference to what was exported is an error.
    """
    group.start_tensorflow()
    from camformer_tf.client import check

    click.echo(check.check(url, export_dir, timeout=timeout).summary())
