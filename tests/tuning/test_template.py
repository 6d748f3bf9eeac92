import pytest

from camformer_tf import errors
from camformer_tf.tuning import space, template

TEXT = """
schema: 1
model: {blocks: [{filters: 4, kernel: 3}, {filters: 4, kernel: 3}]}
train: {batch_size: {choice: [64, 128]}}
"""


def parse(raw):
    parser = template.Parser("search.yaml")
    return parser.parse(raw, ""), parser


def test_ranges_are_collected_by_their_dotted_keys():
    tree, parser = parse({"a": {"b": {"int": [1, 5, 2]}, "c": [{"log": [0.1, 1]}, 7]}})
    assert list(parser.ranges) == ["a.b", "a.c.0"]
    assert template.fill(tree, "", {"a.b": 3, "a.c.0": 0.5}) == {"a": {"b": 3, "c": [0.5, 7]}}


def test_items_of_a_list_have_values_of_their_own_and_shared_ones():
    raw = {"n": {"count": {"int": [0, 2]}, "each": {"x": {"choice": [1, 2]}}, "all": {"y": 9}}}
    tree, parser = parse(raw)
    assert list(parser.ranges) == ["n.count", "n.0.x", "n.1.x"]
    assert parser.conditions == {"n.0.x": ("n.count", 1), "n.1.x": ("n.count", 2)}
    values = {"n.count": 1, "n.0.x": 2, "n.1.x": 1}
    assert template.fill(tree, "", values) == {"n": [{"y": 9, "x": 2}]}


def test_pooling_is_put_at_one_block():
    pool = {"at": {"choice": [None, -1]}, "size": 4, "stride": 2}
    tree, _ = parse({"n": {"count": 2, "each": {"x": 1}, "pool": pool}})
    assert template.fill(tree, "", {"n.pool.at": None}) == {"n": [{"x": 1}, {"x": 1}]}
    blocks = template.fill(tree, "", {"n.pool.at": -1})["n"]
    assert blocks == [{"x": 1}, {"x": 1, "pool": {"size": 4, "stride": 2}}]
    with pytest.raises(errors.UserError, match="n.pool.at is -3, but there are 2 blocks"):
        template.fill(tree, "", {"n.pool.at": -3})


@pytest.mark.parametrize(
    ("value_range", "legal", "illegal"),
    [
        (template.Range("choice", values=(1, "a", None)), [1, "a", None], [True, 1.0, "b"]),
        (template.Range("int", low=1, high=5, step=2), [1, 3, 5], [2, 7, 3.0, True]),
        (template.Range("float", low=0.0, high=1.0), [0.0, 0.123, 1.0], [1.5, 1, None]),
        (template.Range("float", low=0.0, high=1.0, step=0.1), [0.1, 0.7], [0.15]),
        (template.Range("log", low=0.01, high=1.0), [0.01, 0.5], [0.001]),
    ],
)
def test_a_range_contains_its_values_alone(value_range, legal, illegal):
    assert all(value in value_range for value in legal)
    assert not any(value in value_range for value in illegal)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("data: {encoding: {choice: []}}", "data.encoding: the range choice is empty"),
        ("data: {max_n: {int: [3, 1]}}", r"data.max_n: the range int \[3, 1\] contains no number"),
        ("data: {max_n: {int: [1.5, 3]}}", "data.max_n: expected int"),
        ("data: {max_n: {float: [1, 3]}}", "data.max_n: expected a whole number"),
        ("data: {encoding: {choice: [onehot, twohot]}}", "data.encoding: expected one of .*twohot"),
        ("data: {encodign: {choice: [onehot]}}", "unknown key data.encodign. Did you mean"),
        ("tricks: {shift: {log: [0, 1]}}", r"the range log \[0, 1\] contains no number"),
        ("tricks: {shift: {int: [1]}}", r"expected int: \[low, high\]"),
        ("tricks: {flanks: {count: 2, some: 1}}", "count, each, all and pool, found some"),
        ("tricks: {flanks: {count: x, each: 1}}", "flanks.count: expected whole numbers"),
    ],
)
def test_a_range_that_cannot_be_is_refused_by_name(tmp_path, extra, message):
    with pytest.raises(errors.UserError, match=message):
        path = tmp_path / "search.yaml"
        path.write_text(TEXT + extra)
        space.load(path)
