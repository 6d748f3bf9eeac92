"""HTML pages that can be mailed: one file, pictures inside, nothing fetched, no script."""

from __future__ import annotations

import base64
import dataclasses
import io
from pathlib import Path

from camformer_tf import errors, files

_DOTS_PER_INCH = 150


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure as the source of an <img>, what it shows in words, and how wide it is meant to be
    (CSS pixels).
    """

    source: str
    words: str
    width: int


def picture(figure, words: str) -> Picture:
    """Returns a matplotlib Figure as a picture."""
    file = io.BytesIO()
    figure.savefig(file, dpi=_DOTS_PER_INCH, metadata={"Software": None})
    source = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    return Picture(source, words, round(figure.get_figwidth() * 96))


def save(path: Path, template: str, *, overwrite: bool = False, **values: object) -> None:
    """Writes a template of this package, filled in.

    Raises:
        errors.UserError: jinja2 is not installed, or the file is there already.
    """
    environment = _environment()
    with files.new_file(path, overwrite=overwrite) as temporary:
        text = environment.get_template(template).render(values)
        temporary.write_text(text, encoding="utf-8")


def _environment():
    try:
        import jinja2
    except ImportError as error:
        raise errors.UserError('Pages need jinja2: pip install "camformer-tf[report]".') from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("camformer_tf.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["whole"] = lambda value: None if value is None else round(value)
    return environment


def _number(value: object) -> str:
    """Returns a cell for a person."""
    if value is None or value != value:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4f}" if abs(value) >= 0.01 or not value else f"{value:.3g}"
