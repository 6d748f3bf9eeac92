import pytest

from camformer_tf import wording


@pytest.mark.parametrize(
    "number, words", [(0, "0 lines"), (1, "1 line"), (2, "2 lines"), (6_739_258, "6,739,258 lines")]
)
def test_a_noun_is_in_the_number_of_its_count(number, words):
    assert wording.count(number, "line") == words
