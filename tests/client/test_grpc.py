import socket
import sys
import time

import numpy as np
import pytest

from camformer_tf import errors
from camformer_tf.client import connection, engine


def connect(url: str, **options) -> connection.Connection:
    return engine.connect(connection.Address.from_url(url), **options)


def test_regress_versions_signatures_and_length_are_given(urls, promoters):
    served_model = connect(urls["grpc"])
    assert served_model.versions() == [1]
    assert served_model.signatures() == ["onehot", "regress", "serving_default"]
    assert served_model.length() == 110
    assert served_model.card() is None
    outputs = served_model.predict(promoters)
    np.testing.assert_allclose(served_model.regress(promoters), outputs["expression"], atol=3e-5)
    assert outputs["valid"].dtype == bool and outputs["spread"].shape == (20,)


def test_an_absent_version_or_model_is_an_error(urls, promoters):
    for path, message in (("camformer/versions/7", "7"), ("other", "other")):
        with pytest.raises(errors.UserError, match=message):
            connect(f"{urls['grpc']}/v1/models/{path}").predict(promoters)


def test_a_silent_server_and_an_absent_one_are_errors_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections, never answers
        url = f"grpc://127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(errors.UserError, match="no server answers"):
            connect(url, timeout=0.5, retries=0).predict(["ACGT"])
        assert time.monotonic() - start < 10
    with pytest.raises(errors.UserError, match="no server answers .* Is it running"):
        connect(url, timeout=5, retries=0).predict(["ACGT"])


def test_without_the_extra_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(errors.UserError, match=r"pip install \"camformer-tf\[grpc\]\""):
        connect("grpc://h:1")
