import asyncio
import threading
import time
import weakref

import numpy as np
import pytest
from hypothesis import given, strategies

from camformer_tf.server import batching, models, refusal

NUMBERS = models.Tensor(np.dtype(np.float32), "float", (None,))
SCALAR = models.Tensor(np.dtype(np.float32), "float", ())


class Model:
    """Doubles numbers, remembers its calls, and waits for `resume` in each."""

    def __init__(self, tensor=NUMBERS):
        self.calls, self.resume, self.in_call = [], threading.Event(), threading.Event()
        self.resume.set()
        self.signature = models.Signature(
            "double", "", {"x": tensor}, {"y": tensor}, self.call, definition=None
        )
        self.version = models.Version(1, {"double": self.signature}, None)

    def call(self, arrays):
        self.calls.append(arrays["x"])
        self.in_call.set()
        self.resume.wait(10)
        if (arrays["x"] == -13).any():
            raise refusal.invalid("-13 brings bad luck")
        if (arrays["x"] == -666).any():
            raise ZeroDivisionError
        return {"y": arrays["x"] * 2}


def run(scenario, max_rows=8, max_queue=1000, max_wait=0.0, tensor=NUMBERS):
    """Runs a scenario (batcher, model) in a loop of its own."""
    model = Model(tensor)

    async def main():
        batcher = batching.Batcher(max_rows, max_queue, max_wait)

        def submit(*numbers):
            x = np.array(numbers if tensor.shape else numbers[0], np.float32)
            return batcher.submit(model.version, model.signature, {"x": x})

        try:
            return await asyncio.wait_for(scenario(submit, model, batcher), 20)
        finally:
            model.resume.set()
            batcher.close()

    return asyncio.run(main()), model


async def busy(submit, model):
    """Makes the model compute one row until `resume` is set, and returns the row's future."""
    model.resume.clear()
    model.in_call.clear()
    first = submit(0)
    await asyncio.to_thread(model.in_call.wait, 10)
    return first


def test_rows_of_requests_that_wait_share_one_call():
    async def scenario(submit, model, batcher):
        first = await busy(submit, model)
        futures = [submit(1), submit(2, 3), submit(4)]
        assert batcher.queue_rows == 4
        model.resume.set()
        return [answer["y"].tolist() for answer in await asyncio.gather(first, *futures)]

    answers, model = run(scenario)
    assert answers == [[0], [2], [4, 6], [8]]
    assert len(model.calls) == 2 and sorted(model.calls[1]) == [1, 2, 3, 4]


def test_each_of_many_requests_gets_its_own_rows():
    rng = np.random.default_rng(0)
    sizes = [0, 1, 1, 2, 7, 8, 9, 30, 100] * 30
    requests = [rng.random(size, np.float32) for size in sizes]

    async def scenario(submit, model, batcher):
        async def client(arrays):
            for x in arrays:
                np.testing.assert_array_equal((await submit(*x))["y"], x * 2)

        await asyncio.gather(*(client(requests[i::64]) for i in range(64)))
        assert batcher.queue_rows == 0

    _, model = run(scenario, max_queue=10_000)
    assert max(map(len, model.calls)) == 8


def test_a_large_request_does_not_delay_a_small_one():
    async def scenario(submit, model, batcher):
        first = await busy(submit, model)
        large, small = submit(*range(100)), submit(1000)
        model.resume.set()
        await asyncio.gather(first, small)
        return (await large)["y"].tolist()

    answer, model = run(scenario)
    assert answer == [2 * i for i in range(100)]
    assert 1000 in model.calls[1]


def test_large_requests_share_the_model_evenly():
    async def scenario(submit, model, batcher):
        first = await busy(submit, model)
        futures = submit(*range(0, 40)), submit(*range(100, 140))
        model.resume.set()
        await asyncio.gather(first, *futures)

    _, model = run(scenario)
    assert all(sum(call < 100) == 4 for call in model.calls[1:])


def test_an_idle_model_starts_immediately():
    async def scenario(submit, model, batcher):
        start = time.monotonic()
        await submit(1)
        return time.monotonic() - start

    seconds, _ = run(scenario)
    assert seconds < 1


def test_a_call_waits_for_more_rows_if_there_is_a_batch_timeout():
    async def scenario(submit, model, batcher):
        answers = [submit(1)]
        await asyncio.sleep(0.01)
        answers += [submit(i) for i in range(2, 9)]  # full: no reason to wait longer
        await asyncio.gather(*answers)

    _, model = run(scenario, max_wait=15)
    assert [len(call) for call in model.calls] == [8]


def test_a_full_queue_refuses_and_still_answers_what_is_in_it():
    async def scenario(submit, model, batcher):
        first = await busy(submit, model)
        futures = [submit(i) for i in range(10)]
        with pytest.raises(refusal.Refusal, match="full: 10 of 10 rows") as error:
            submit(10)
        assert error.value.code == "UNAVAILABLE"
        model.resume.set()
        answers = await asyncio.gather(first, *futures)
        assert (await submit(11))["y"] == 22
        return [answer["y"].tolist() for answer in answers]

    answers, _ = run(scenario, max_queue=10)
    assert answers == [[0], *([2 * i] for i in range(10))]


def test_a_request_larger_than_the_queue_is_refused_for_good():
    async def scenario(submit, model, batcher):
        with pytest.raises(refusal.Refusal, match="11 rows, more than the 10") as error:
            submit(*range(11))
        assert error.value.code == "INVALID_ARGUMENT"

    run(scenario, max_queue=10)


def test_a_cancelled_request_is_not_computed():
    async def scenario(submit, model, batcher):
        first = await busy(submit, model)
        cancelled_future, future = submit(7, 7, 7), submit(5)
        cancelled_future.cancel()
        model.resume.set()
        await asyncio.gather(first, future)
        assert batcher.queue_rows == 0

    _, model = run(scenario)
    assert not any(7 in call for call in model.calls)


def test_a_request_that_the_model_refuses_does_not_fail_the_others_of_its_call():
    async def scenario(submit, model, batcher):
        first = await busy(submit, model)
        bad, good = submit(-13), submit(5)
        model.resume.set()
        with pytest.raises(refusal.Refusal, match="bad luck"):
            await bad
        await first
        return (await good)["y"].tolist()

    answer, _ = run(scenario)
    assert answer == [10]


def test_a_failure_does_not_stop_the_model():
    async def scenario(submit, model, batcher):
        with pytest.raises(refusal.Refusal) as error:
            await submit(-666)
        assert error.value.code == "INTERNAL"
        return (await submit(1))["y"].tolist()

    assert run(scenario)[0] == [2]


def test_no_rows_need_no_call():
    async def scenario(submit, model, batcher):
        return (await submit())["y"]

    answer, model = run(scenario)
    assert answer.shape == (0,) and answer.dtype == np.float32 and not model.calls


def test_inputs_without_rows_have_a_call_each():
    async def scenario(submit, model, batcher):
        answers = await asyncio.gather(*(submit(i) for i in range(5)))
        return [float(answer["y"]) for answer in answers]

    answers, model = run(scenario, tensor=SCALAR)
    assert answers == [0, 2, 4, 6, 8] and len(model.calls) == 5


def test_a_version_is_freed_when_its_last_request_is_answered():
    async def scenario(submit, model, batcher):
        first = await busy(submit, model)
        last = submit(1)
        version = weakref.ref(model.version)
        model.version = None
        assert version() is not None
        model.resume.set()
        await asyncio.gather(first, last)
        end = time.monotonic() + 10
        while version() is not None and time.monotonic() < end:
            await asyncio.sleep(0.01)
        assert version() is None

    run(scenario)


def test_a_closed_batcher_answers_what_is_in_its_queue_and_refuses_the_rest():
    async def scenario(submit, model, batcher):
        first = await busy(submit, model)
        future = submit(*range(50))
        batcher.close()
        with pytest.raises(refusal.Refusal, match="stopping"):
            submit(1)
        model.resume.set()
        await first
        return len((await future)["y"])

    assert run(scenario)[0] == 50


@given(strategies.integers(1, 100_000))
def test_batches_are_padded_by_an_eighth_at_most(rows):
    assert rows <= batching.batch_size(rows) <= rows * 9 / 8


def test_batches_have_few_sizes():
    assert len({batching.batch_size(rows) for rows in range(1, 129)}) == 40
