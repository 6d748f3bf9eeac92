import time

import numpy as np
import pytest
from support import misbehaving

from camformer_tf import errors
from camformer_tf.client import connection, engine, grpc, rest
from camformer_tf.data import rows, rules

SCHEMES = ("http", "grpc")


def read(sequences: list[str], rule: rules.Rule | None = None) -> rows.Rows:
    return rows.from_sequences([text.encode() for text in sequences], None, rule or rules.Rule())


def test_the_scheme_of_a_url_decides_the_connection(urls):
    kinds = {"http": rest.RestConnection, "grpc": grpc.GrpcConnection}
    for scheme, kind in kinds.items():
        served_model = engine.connect(connection.Address.from_url(urls[scheme]))
        assert isinstance(served_model, kind)


def test_busy_requests_are_repeated_and_nothing_is_lost_or_out_of_order():
    def answer(number, sequences):
        if number % 3 == 1:
            return 503, {"Retry-After": "0"}, b'{"error": "full"}'
        time.sleep(0.02 * (len(sequences[0]) < 50))  # the first are slow
        return 200, {}, misbehaving.lengths(sequences)

    part = read(["A" * i for i in range(1, 101)])
    with misbehaving.serve(answer) as (url, numbers):
        served_model = engine.connect(connection.Address.from_url(url), retries=20)
        served_engine = engine.ServedEngine(served_model, batch_size=7, concurrency=5)
        answer_rows, outputs = served_engine.answer(part)
    assert outputs["expression"].tolist() == list(range(1, 101))
    assert answer_rows.reasons == [None] * 100  # without a card the server decides
    assert len(numbers) >= 15 * 3 // 2 - 1


@pytest.mark.parametrize("scheme", SCHEMES)
def test_rows_keep_their_order_and_unreadable_ones_have_a_reason(urls, promoters, scheme):
    served_engine = engine.load(urls[scheme], batch_size=3)
    sequences = [promoters[0], "ACGT", *promoters[1:5], promoters[5][:50] + "!" + "A" * 59]
    answer_rows, outputs = served_engine.answer(read(sequences))
    assert set(outputs) >= {"expression", "spread", "lower", "upper"}
    assert answer_rows.sequences == sequences
    is_readable = [reason is None for reason in answer_rows.reasons]
    assert is_readable == [True, False, True, True, True, True, False]
    assert np.isfinite(outputs["expression"]).tolist() == is_readable
    alone = served_engine.answer(read(promoters[4:5]))[1]["expression"]
    np.testing.assert_allclose(outputs["expression"][5], alone[0], atol=3e-5)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_rows_give_no_outputs(urls, scheme):
    _, outputs = engine.load(urls[scheme]).answer(read([]))
    assert outputs["expression"].shape == (0,)


def test_the_rule_is_that_of_the_card_or_else_of_the_length(urls, monkeypatch):
    assert engine.load(urls["http"]).encoding == "onehot"
    assert engine.load(urls["http"]).rule == rules.Rule()
    assert engine.load(urls["grpc"]).rule == rules.Rule()
    monkeypatch.setattr(grpc.GrpcConnection, "length", lambda self: 60)
    assert engine.load(urls["grpc"]).rule == rules.Rule(length=60)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_newest_version_is_asked_unless_the_url_names_one(urls, scheme):
    path = "/v1/models/camformer/versions/1"
    assert engine.load(urls[scheme]).name == engine.load(urls[scheme] + path).name
    assert engine.load(urls[scheme]).name.endswith(path)
    with pytest.raises(errors.UserError, match=r"versions/7: there is no such version. Avail.*: 1"):
        engine.load(f"{urls[scheme]}/v1/models/camformer/versions/7")
