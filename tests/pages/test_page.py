import base64
import re
import sys

import jinja2
import numpy as np
import pytest

from camformer_tf import errors
from camformer_tf.pages import page, plot

VALUES = {"version": "1.2.3", "head": ["run", "r"], "rows": [["a<b>", 0.5], ["c", None]]}


@pytest.fixture
def picture() -> page.Picture:
    y = np.arange(50.0)
    return page.picture(plot.scatter(y, y), "Measured against predicted values.")


def test_a_picture_is_a_png_with_a_width_in_pixels(picture):
    head, data = picture.source.split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data).startswith(b"\x89PNG\r\n")
    assert (picture.width, picture.words) == (499, "Measured against predicted values.")


def test_a_page_is_one_file_without_scripts_or_external_resources(tmp_path, picture):
    path = tmp_path / "page.html"
    page.save(path, "compare.html", picture=picture, **VALUES)
    text = path.read_text(encoding="utf-8")
    assert "<script" not in text and "camformer_tf 1.2.3" in text
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert sources and all(source.startswith("data:") for source in sources)
    assert 'alt="Measured against predicted values."' in text


def test_values_are_escaped(tmp_path, picture):
    page.save(tmp_path / "page.html", "compare.html", picture=picture, **VALUES)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "a&lt;b&gt;" in text and "a<b>" not in text


def test_a_missing_variable_is_an_error_and_leaves_no_file(tmp_path):
    with pytest.raises(jinja2.UndefinedError):
        page.save(tmp_path / "page.html", "compare.html", **VALUES)
    assert not list(tmp_path.iterdir())


def test_a_page_is_replaced_only_with_overwrite(tmp_path, picture):
    path = tmp_path / "page.html"
    path.write_text("old")
    with pytest.raises(errors.UserError, match="page.html: exists already"):
        page.save(path, "compare.html", picture=picture, **VALUES)
    page.save(path, "compare.html", overwrite=True, picture=picture, **VALUES)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_without_jinja2_its_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(errors.UserError, match=r"camformer-tf\[report\]"):
        page.save(tmp_path / "page.html", "compare.html")


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "–"),
        (float("nan"), "–"),
        (0, "0"),
        (0.0, "0.0000"),
        (12345, "12,345"),
        (12345.6, "12,346"),
        (0.123456, "0.1235"),
        (-0.5, "-0.5000"),
        (0.000123456, "0.000123"),
        (True, "True"),
        ("text", "text"),
    ],
)
def test_numbers_in_tables_have_four_digits(value, text):
    assert page._number(value) == text
