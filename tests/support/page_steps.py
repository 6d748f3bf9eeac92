"""What tests of the page do in a browser, and the sequences that they use."""

import csv
import io
import re

import numpy as np

from camformer_tf.data import sequence
from camformer_tf.simulation import grammar

LEFT, RIGHT = grammar.PREFIX.decode(), grammar.SUFFIX.decode()
RULE = {"length": 110, "length_margin": 3, "max_n": 3}
MINUTE = 60_000  # milliseconds


def cores(n: int, seed: int = 0) -> list[str]:
    letters = np.random.default_rng(seed).choice(np.frombuffer(b"ACGT", np.uint8), (n, 80))
    return sequence.text(letters)


def promoters(n: int, seed: int = 0) -> list[str]:
    return [LEFT + core + RIGHT for core in cores(n, seed)]


def mutate(string: str, place: int, letter: str) -> str:
    return string[:place] + letter + string[place + 1 :]


def other_letter(letter: str) -> str:
    return "A" if letter != "A" else "G"


def expect(page, selector: str):
    """Returns assertions about an element, which wait until they are true."""
    from playwright import sync_api  # an extra

    return sync_api.expect(page.locator(selector))


def predict(page, text: str) -> None:
    """Predicts sequences and waits for the table."""
    page.fill("#text", text)
    page.click("#predict")
    expect(page, "#message").to_contain_text(re.compile(r"predicted[.;]"))


def open_map(page, selector: str = "#table tbody button.link") -> None:
    """Opens the map of a sequence and waits for it."""
    page.locator(selector).first.click()
    expect(page, "#map-body").to_be_visible(timeout=MINUTE)


def table_rows(page) -> list[list[str]]:
    rows = page.locator("#table tbody tr")
    return [row.locator("th, td").all_inner_texts() for row in rows.all()]


def download(page, button: str) -> bytes:
    with page.expect_download() as info:
        page.click(button)
    return info.value.path().read_bytes()


def parse_csv(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def column(rows: list[dict[str, str]], name: str) -> np.ndarray:
    """Returns a column of numbers: float64 (N,)."""
    return np.array([float(row[name]) for row in rows])


def cell(place: int, letter: str) -> str:
    """Returns the selector of a cell of the map."""
    return f"#grid td[data-place='{place}'][data-row='{'ACGT'.index(letter)}']"
