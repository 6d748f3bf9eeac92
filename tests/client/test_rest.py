import socket
import time

import numpy as np
import pytest
from support import misbehaving

from camformer_tf import errors
from camformer_tf.client import connection, engine


def connect(url: str, **options) -> connection.Connection:
    return engine.connect(connection.Address.from_url(url), **options)


def test_regress_versions_signatures_length_and_card_are_given(urls, promoters):
    served_model = connect(urls["http"])
    assert served_model.versions() == [1]
    assert served_model.signatures() == ["onehot", "regress", "serving_default"]
    assert served_model.length() == 110
    assert served_model.card()["members"] == 3
    outputs = served_model.predict(promoters)
    np.testing.assert_allclose(served_model.regress(promoters), outputs["expression"], atol=3e-5)
    assert outputs["valid"].dtype == bool and outputs["spread"].shape == (20,)


def test_an_absent_version_or_model_is_an_error(urls, promoters):
    for path, message in (("camformer/versions/7", "7"), ("other", "other")):
        with pytest.raises(errors.UserError, match=message):
            connect(f"{urls['http']}/v1/models/{path}").predict(promoters)


def test_a_server_that_stays_busy_is_an_error_after_the_retries():
    reply = (503, {"Retry-After": "0"}, b'{"error": "full"}')
    with (
        misbehaving.serve(lambda *_: reply) as (url, numbers),
        pytest.raises(errors.UserError, match="503: full"),
    ):
        connect(url, retries=3).predict(["ACGT"])
    assert len(numbers) == 4


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((400, {}, b'{"error": "not so"}'), "400: not so"),
        ((200, {}, b"<html>"), "is not JSON"),
        ((200, {}, b'{"predictions": []}'), "outputs"),
        (
            (200, {}, b'{"outputs": {"expression": [1]}}'),
            "of 2 sequences, found the outputs expression: 1",
        ),
        ((200, {}, b'{"outputs": [1, 2]}'), "outputs"),
    ],
)
def test_a_wrong_answer_is_an_error_and_not_repeated(reply, message):
    with (
        misbehaving.serve(lambda *_: reply) as (url, numbers),
        pytest.raises(errors.UserError, match=message),
    ):
        connect(url).predict(["ACGT", "ACGT"])
    assert len(numbers) == 1


def test_a_silent_server_and_an_absent_one_are_errors_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections, never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(errors.UserError, match="no server answers"):
            connect(url, timeout=0.5, retries=0).predict(["ACGT"])
        assert time.monotonic() - start < 10
    with pytest.raises(errors.UserError, match="no server answers .* Is it running"):
        connect(url, timeout=5, retries=0).predict(["ACGT"])
