"""Self-contained HTML pages: one file with its pictures, without scripts or external resources."""

from __future__ import annotations

import base64
import dataclasses
import io
from pathlib import Path
from typing import TYPE_CHECKING

from camformer_tf import errors, files

if TYPE_CHECKING:
    import jinja2
    from matplotlib.figure import Figure

_DOTS_PER_INCH = 150


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure for an <img>.

    Attributes:
        source: the PNG image as a data URL.
        words: a description for readers who do not see the image.
        width: in CSS pixels.
    """

    source: str
    words: str
    width: int


def picture(figure: Figure, words: str) -> Picture:
    """Returns a matplotlib Figure as a picture; `words` describe it."""
    file = io.BytesIO()
    figure.savefig(file, dpi=_DOTS_PER_INCH, metadata={"Software": None})
    source = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    return Picture(source, words, round(figure.get_figwidth() * 96))


def save(path: Path, template: str, *, overwrite: bool = False, **values: object) -> None:
    """Writes a page from a template of this package.

    Args:
        path: the HTML file; `-` is standard output.
        template: the name of a file in `templates`.
        overwrite: whether to replace an existing file.
        values: the variables of the template.

    Raises:
        errors.UserError: jinja2 is not installed, or the file exists.
    """
    environment = _environment()
    with files.text_output(path, overwrite=overwrite) as file:
        file.write(environment.get_template(template).render(values))


def _environment() -> jinja2.Environment:
    try:
        import jinja2  # here, as it is in the extra `report`
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
    """Returns the text of a table cell: numbers with four digits, a dash for None and NaN."""
    if value is None or value != value:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4f}" if abs(value) >= 0.01 or not value else f"{value:.3g}"
