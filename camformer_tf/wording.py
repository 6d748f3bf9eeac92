"""Numbers with their nouns, for messages and summaries."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """Returns a number and its noun in the right number: "1 line", "3,000 lines"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
