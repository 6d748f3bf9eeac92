import numpy as np
import pytest

from camformer_tf import errors
from camformer_tf.client import connection


def test_a_url_may_name_model_and_version():
    from_url = connection.Address.from_url
    assert from_url("http://h:1") == connection.Address("http", "h:1", "camformer", None)
    assert from_url("grpc://h:8500/v1/models/mine/versions/12/") == connection.Address(
        "grpc", "h:8500", "mine", 12
    )
    assert str(from_url("https://h:1/v1/models/m")) == "https://h:1/v1/models/m"


@pytest.mark.parametrize(
    "url", ["h:8501", "ftp://h:1", "http://h:1/v2", "http://h:1/v1/models/m:predict", ""]
)
def test_another_url_is_refused(url):
    with pytest.raises(errors.UserError, match="expected the URL of a server, such as"):
        connection.Address.from_url(url)


def test_outputs_need_an_expression_of_each_sequence():
    address, values = connection.Address("http", "h:1"), np.zeros(2)
    outputs = {"expression": values, "spread": values}
    assert connection.check_outputs(address, outputs, 2) is outputs
    with pytest.raises(errors.UserError, match="of 3 sequences, found the outputs expression: 2"):
        connection.check_outputs(address, outputs, 3)
    with pytest.raises(errors.UserError, match="found the outputs spread: 2"):
        connection.check_outputs(address, {"spread": values}, 2)
    with pytest.raises(errors.UserError, match="found the outputs none"):
        connection.check_outputs(address, {}, 2)
