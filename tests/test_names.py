"""Names are nouns of what they hold, and class names are unique."""

import ast
import collections
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path for room in ("camformer_tf", "tests", "benchmarks") for path in (ROOT / room).rglob("*.py")
)
# A participle, preposition, pronoun or adverb does not name what a variable holds.
REFUSED_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        begun broken caught chosen come done drawn found given gone got had heard held kept known
        made meant put said seen sent shown spoken taken told understood unheard written
        holds knows lets says tells wants
        about above after against around at before behind below beside between beyond by inside near
        of off outside since until upon within without
        another any_ both each every everything here itself mine none nothing one ones other others
        ours own same some something such that theirs there these this those what where which who
        whole whom whose
        again else enough few least many more most much now once rest several so still such then
        thing things thus twice way ways yet
        """,
    )
)
NOUNS_IN_ED = {"seed", "speed", "need", "expected", "malformed"}  # the last, a key of the manifest
KEYS = {"above", "below"}  # of recipes: tricks.tails
OPTIONS = {"against", "measured", "published", "unpredicted"}  # of evaluate, calibrate, scores.json


def is_refused(name: str) -> bool:
    word = name.strip("_").lower()
    if word in OPTIONS:
        return False
    is_participle = word.endswith("ed") and "_" not in word and word not in NOUNS_IN_ED
    return (word in REFUSED_WORDS - KEYS) or is_participle or word.startswith("of_")


def bindings(tree: ast.Module) -> list[tuple[str, int]]:
    """Returns every name that a module binds, with its line: variables, arguments, attributes,
    functions, classes and aliases."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append((node.id, node.lineno))
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.append((node.attr, node.lineno))
        elif isinstance(node, ast.arg):
            names.append((node.arg, node.lineno))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append((node.name, node.lineno))
        elif isinstance(node, ast.alias) and node.asname:
            names.append((node.asname, node.lineno))
    return names


def imported_modules(tree: ast.Module) -> set[str]:
    """Returns the names under which a module's top level imports modules and names."""
    return {
        alias.asname or alias.name.split(".")[0]
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_name_is_a_participle_preposition_or_pronoun(path):
    names = bindings(ast.parse(path.read_text()))
    assert not [(line, name) for name, line in names if is_refused(name)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_local_name_shadows_an_import(path):
    tree = ast.parse(path.read_text())
    imports = imported_modules(tree)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    shadows = {
        (line, name)
        for function in functions
        for name, line in bindings(ast.Module([function.args, *function.body], []))
        if name in imports
    }
    assert not shadows


def test_class_names_are_unique():
    owners = collections.defaultdict(list)
    for path in FILES:
        if path.is_relative_to(ROOT / "camformer_tf"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    owners[node.name.strip("_")].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not {name: places for name, places in owners.items() if len(places) > 1}
