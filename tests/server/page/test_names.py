"""The rules for names in Python hold for the page's JavaScript, too."""

import re
from pathlib import Path

import pytest
import test_names

from camformer_tf.server import rest

SCRIPTS = sorted(rest.PAGE.glob("*.js"))
PATTERNS = [
    r"\b(?:const|let|var)\s+([\w$]+)",
    r"\b(?:const|let|var)\s+([{\[][^;]*?[}\]])\s*(?:=|of\b)",
    r"\bfunction\s+([\w$]+)\s*\(",
    r"\bfunction\s+[\w$]+\s*\(((?:[^()]|\([^()]*\))*)\)\s*\{",
    r"\bconstructor\s*\(([^()]*)\)",
    r"\bcatch\s*\(([\w$]+)\)",
    r"\bclass\s+([\w$]+)",
    r"\(([^()]*)\)\s*=>",
    r"([\w$]+)\s*=>",
    r"\bimport\s+\*\s+as\s+([\w$]+)",
    r"^\s+([\w$]+)\([^()]*\)\s*\{$",  # methods
    r"[{,]\s*([\w$]+):",  # keys of objects
]
NAMES = {"given", "red"}  # a column of the table that is downloaded; a colour


def bindings(script: str) -> set[str]:
    """Returns the names that a script binds: variables, parameters, functions, keys."""
    code = re.sub(r'"(?:[^"\\\n]|\\.)*"', '""', script)
    code = re.sub(r"//[^\n]*|/\*.*?\*/", "", code, flags=re.DOTALL)
    names: set[str] = set()
    for pattern in PATTERNS:
        for match in re.findall(pattern, code, flags=re.MULTILINE):
            without_defaults = re.sub(r"=[^,}\]]*", "", match)
            without_keys = re.sub(r"[\w$]+\s*:", "", without_defaults)
            names |= set(re.findall(r"[A-Za-z_$][\w$]*", without_keys))
    return names


def snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)


def test_the_names_of_a_script_are_read():
    script = """
    import * as map from "./map.js"; // const told = 1
    const first = 1; const { second, other: third = 2 } = x; let [fourth] = "const said = 2";
    function fifth(sixth, { seventh }) { for (const [eighth] of y) z((ninth) => ninth); }
    """
    ordinals = "first second third fourth fifth sixth seventh eighth ninth"
    expected = {"map", *ordinals.split()}
    assert expected <= bindings(script) and not {"told", "said"} & bindings(script)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_name_of_the_page_is_a_participle_preposition_or_pronoun(path: Path):
    names = bindings(path.read_text(encoding="utf-8"))
    assert not [n for n in sorted(names - NAMES) if test_names.is_refused(snake_case(n))]
