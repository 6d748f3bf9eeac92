import dataclasses
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camformer_tf import errors, schema


@dataclasses.dataclass(frozen=True)
class Pool:
    size: Annotated[int, schema.Bound(at_least=1)]


@dataclasses.dataclass(frozen=True)
class Model:
    filters: int
    rate: Annotated[float, schema.Bound(at_least=0, below=1)] = 0.5
    loss: Literal["l1", "mse"] = "l1"
    residual: bool = True
    padding: Literal["same"] | Annotated[int, schema.Bound(at_least=0)] = "same"
    pool: Pool | None = None
    dense: tuple[Annotated[int, schema.Bound(above=0)], ...] = ()


def refusal(value, kind=Model, name: str = "") -> str:
    with pytest.raises(errors.UserError) as info:
        schema.parse(value, kind, "my.yaml", name)
    return str(info.value)


def test_a_section_becomes_its_dataclass_with_defaults():
    assert schema.parse({"filters": 4}, Model, "my.yaml") == Model(4)


def test_a_value_of_every_type_is_read():
    value = {
        **{"filters": 4, "rate": 0.25, "loss": "mse", "residual": False, "padding": 3},
        **{"pool": {"size": 2}, "dense": [8, 9]},
    }
    expected = Model(4, 0.25, "mse", False, 3, Pool(2), (8, 9))
    assert schema.parse(value, Model, "my.yaml") == expected


@pytest.mark.parametrize("padding", ["same", 0, 7])
def test_a_union_accepts_its_word_or_a_number(padding):
    assert schema.parse({"filters": 4, "padding": padding}, Model, "my.yaml").padding == padding


def test_null_is_read_where_the_type_allows_it():
    assert schema.parse({"filters": 4, "pool": None}, Model, "my.yaml").pool is None


def test_a_whole_number_is_read_as_a_float_where_the_type_is_float():
    rate = schema.parse({"filters": 4, "rate": 0}, Model, "my.yaml").rate
    assert rate == 0.0 and type(rate) is float


def test_only_text_is_read_where_the_type_is_text():
    assert schema.parse("ACGT", str, "my.yaml") == "ACGT"
    assert refusal(3, str, "add_left") == "my.yaml: add_left: expected text, found 3."


def test_a_number_may_equal_its_upper_limit_but_not_exceed_it():
    share = Annotated[float, schema.Bound(at_least=0, at_most=1)]
    assert schema.parse(1, share, "my.yaml") == 1.0
    message = refusal(1.5, share, "share")
    assert message == "my.yaml: share: expected a number at least 0 and at most 1, found 1.5."


def test_an_unknown_key_is_refused_with_the_nearest_one():
    assert refusal({"filtres": 4}) == "my.yaml: unknown key filtres. Did you mean filters?"


def test_an_unknown_key_is_named_with_its_section():
    message = refusal({"filters": 4, "pool": {"sise": 2}})
    assert message == "my.yaml: unknown key pool.sise. Did you mean pool.size?"


def test_an_unknown_key_without_a_near_one_is_refused_with_all_keys():
    message = refusal({"filters": 4, "xyz": 1})
    assert "unknown key xyz. Known keys: filters, rate, loss, residual, padding" in message


def test_a_key_that_is_not_text_is_refused():
    assert "unknown key True" in refusal({True: 1})


def test_a_missing_key_without_a_default_is_named():
    assert refusal({}) == "my.yaml: the key filters is missing and has no default."


def test_a_missing_key_of_an_inner_section_is_named_in_full():
    message = refusal({"filters": 4, "pool": {}})
    assert message == "my.yaml: the key pool.size is missing and has no default."


WRONG = {
    "text for a number": ("filters", "many", "a whole number, found 'many'."),
    "true for a number": ("filters", True, "a whole number, found True."),
    "1.5 for an int": ("filters", 1.5, "a whole number, found 1.5."),
    "2.0 for an int": ("filters", 2.0, "a whole number, found 2.0."),
    "nothing": ("filters", None, "a whole number, found None."),
    "true for a float": ("rate", True, "a number, found True."),
    "nan": ("rate", float("nan"), "a number, found nan."),
    "infinity": ("rate", float("inf"), "a number, found inf."),
    "an int beyond any float": ("rate", 10**400, "a number, found 1000"),
    "too low": ("rate", -0.1, "a number at least 0 and below 1, found -0.1."),
    "at an open end": ("rate", 1, "a number at least 0 and below 1, found 1."),
    "a bound within a list": ("dense", [8, 0], "dense.1: expected a number above 0, found 0."),
    "a wrong type within a list": ("dense", [8, "x"], "dense.1: expected a whole number, found"),
    "no list": ("dense", 8, "a list, found 8."),
    "text for a list": ("dense", "88", "a list, found '88'."),
    "no word of the list": ("loss", "l2", "one of l1, mse, found 'l2'."),
    "a list for a word": ("loss", ["l1"], "one of l1, mse, found ['l1']."),
    "a number for true": ("residual", 1, "true or false, found 1."),
    "text for true": ("residual", "true", "true or false, found 'true'."),
    "a wrong word of a union": ("padding", "valid", "same or a whole number, found 'valid'."),
    "a bound within a union": ("padding", -1, "a number at least 0, found -1."),
    "true in a union": ("padding", True, "a whole number, found True."),
    "no section": ("pool", 3, "a section of keys, found 3."),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_is_refused_by_name(case):
    key, value, expected = WRONG[case]
    message = refusal({"filters": 4} | {key: value})
    assert message.startswith(f"my.yaml: {key}") and expected in message


@pytest.mark.parametrize(
    "key, text, plain",
    [
        ("rate", "1e-3", "0.001"),
        ("rate", "1e-15", "0.000000000000001"),
        ("rate", "-.5", "-0.5"),
        ("filters", "1e3", "1000"),
        ("padding", "3", "3"),
    ],
)
def test_the_message_on_a_number_that_yaml_reads_as_text_shows_how_to_write_it(key, text, plain):
    assert refusal({"filters": 4} | {key: text}).endswith(
        f"found {text!r}. YAML reads {text} as text: write {plain}."
    )


@pytest.mark.parametrize("key, text", [("rate", "NaN"), ("rate", "inf"), ("filters", "1.5e0")])
def test_the_message_shows_no_spelling_that_would_be_refused_again(key, text):
    assert refusal({"filters": 4} | {key: text}).endswith(f"found {text!r}.")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_float_is_read_unchanged(value):
    read = schema.parse(value, float, "my.yaml", "rate")
    assert read == value and type(read) is float


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(st.recursive(LEAVES, lambda v: st.lists(v) | st.dictionaries(st.text(), v), max_leaves=6))
def test_any_plain_value_is_read_or_refused_with_a_message(value):
    for key in [field.name for field in dataclasses.fields(Model)]:
        try:
            schema.parse({"filters": 4} | {key: value}, Model, "my.yaml")
        except errors.UserError as error:
            assert str(error).startswith("my.yaml: ")


@pytest.mark.parametrize(
    "bound, valid, invalid",
    [
        (schema.Bound(at_least=1), [1, 2], [0.999]),
        (schema.Bound(above=0), [1e-300], [0, -1]),
        (schema.Bound(at_least=0, below=1), [0, 0.999], [1, -0.001]),
    ],
)
def test_a_bound_is_open_or_closed(bound, valid, invalid):
    assert all(map(bound.allows, valid)) and not any(map(bound.allows, invalid))
