import pytest

from camformer_tf import errors, yaml_text


def test_values_are_read_with_their_types():
    text = "a: 1\nb: 0.5\nc: [true, null]\nd: {e: word}\n"
    assert yaml_text.parse(text, "my.yaml") == {
        **{"a": 1, "b": 0.5, "c": [True, None], "d": {"e": "word"}}
    }


def test_values_are_written_in_their_order_and_tuples_as_lists():
    values = {"b": (1, 2), "a": {"d": "word", "c": None}}
    text = yaml_text.dump(values)
    assert text == "b: [1, 2]\na: {d: word, c: null}\n"
    assert yaml_text.parse(text, "my.yaml") == {"b": [1, 2], "a": {"d": "word", "c": None}}


@pytest.mark.parametrize(
    "text, message",
    [
        ("a: [", "my.yaml: not a YAML recipe: "),
        ("a: 1\na: 2\n", "the key 'a' is repeated in the section at line 1"),
        ("- 1\n", "found list."),
        ("", "found nothing."),
    ],
)
def test_other_text_is_refused(text, message):
    with pytest.raises(errors.UserError) as info:
        yaml_text.parse(text, "my.yaml")
    assert message in str(info.value)


@pytest.mark.parametrize(
    "assignment, expected",
    [
        ("a.b=2", {"a": {"b": 2}, "c": [1, {"d": 5}], "e": None}),
        ("c.0=7", {"a": {"b": 1}, "c": [7, {"d": 5}], "e": None}),
        ("c.1.d=[x, 0.5]", {"a": {"b": 1}, "c": [1, {"d": ["x", 0.5]}], "e": None}),
        ("e.f=null", {"a": {"b": 1}, "c": [1, {"d": 5}], "e": {"f": None}}),
    ],
)
def test_an_override_sets_one_value(assignment, expected):
    values = {"a": {"b": 1}, "c": [1, {"d": 5}], "e": None}
    yaml_text.override(values, assignment)
    assert values == expected


@pytest.mark.parametrize(
    "assignment, message",
    [
        ("a.b", "--set a.b: expected key=value"),
        ("c.2=1", "expected a number below 2 in place of '2'"),
        ("a.b.f=1", "there is no key 'f' in 1, which is a single value"),
        ("a.b=[", "the value is not YAML"),
    ],
)
def test_an_override_without_a_place_or_a_value_is_refused(assignment, message):
    with pytest.raises(errors.UserError) as info:
        yaml_text.override({"a": {"b": 1}, "c": [1, 2]}, assignment)
    assert message in str(info.value)
