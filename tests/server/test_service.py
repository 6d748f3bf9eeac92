import asyncio
import json
import time

import pytest
from support import asgi

from camformer_tf.server import refusal, service, versions

PREDICT = "/v1/models/camformer:predict"


def new_service(**state):
    return service.Service(None, None, None, None, **state)


def wait(make_future, timeout=10, disconnect=None):
    """Waits for a future as a request does, in a loop of its own."""

    async def main():
        future = make_future()
        try:
            return await new_service().wait(future, timeout, disconnect), future
        except Exception as error:
            return error, future

    return asyncio.run(main())


def pending():
    return asyncio.get_running_loop().create_future()


def result():
    future = pending()
    future.set_result({"y": 1})
    return future


def test_the_outputs_are_those_of_the_future():
    assert wait(result)[0] == {"y": 1}


def test_late_outputs_are_a_deadline_exceeded():
    error, future = wait(pending, timeout=0.02)
    assert (error.code, error.message) == ("DEADLINE_EXCEEDED", "No answer within 0.02 s")
    assert future.done()


def test_a_disconnect_ends_the_wait():
    async def disconnect():
        await asyncio.sleep(0.01)

    error, future = wait(pending, disconnect=disconnect)
    assert isinstance(error, service.ClientDisconnect) and future.done()


def test_a_fast_answer_starts_no_watch_of_the_client():
    calls = []

    async def disconnect():
        calls.append(1)

    assert wait(result, disconnect=disconnect)[0] == {"y": 1} and not calls


@pytest.mark.parametrize(
    ("ready", "stopping", "state"),
    [(False, False, "loading"), (True, False, "ok"), (True, True, "stopping")],
)
def test_requests_are_refused_unless_the_server_is_ready(ready, stopping, state):
    running = new_service(ready=ready, stopping=stopping)
    assert running.state == state
    if state == "ok":
        running.require_ready()
    else:
        with pytest.raises(refusal.Refusal, match=f"The server is {state}"):
            running.require_ready()


def test_statuses_are_those_of_get_model_status_response():
    statuses = {2: versions.VersionStatus("END", "UNKNOWN", "broken")}
    assert service.status_json(statuses) == {
        "model_version_status": [
            {
                "version": "2",
                "state": "END",
                "status": {"error_code": "UNKNOWN", "error_message": "broken"},
            }
        ]
    }


# === Under load ===


def test_a_full_queue_is_503_and_its_requests_are_answered(run_app, slow_model, sequences):
    resume, began = slow_model
    body = json.dumps({"instances": sequences[:2]}).encode()

    async def use(app, running):
        tasks = [asyncio.create_task(asgi.ask(app, "POST", PREDICT, body))]
        await asyncio.to_thread(began.wait, 10)
        tasks += [asyncio.create_task(asgi.ask(app, "POST", PREDICT, body)) for _ in range(2)]
        while running.batcher.queue_rows < 4:
            await asyncio.sleep(0.001)
        answer = await asgi.ask(app, "POST", PREDICT, body)
        resume.set()
        return answer, await asyncio.gather(*tasks)

    refused_answer, answers = run_app(use, max_queue=5)
    assert "queue" in asgi.error_message(refused_answer, 503)
    assert refused_answer.headers["retry-after"] == "1"
    assert [answer.status for answer in answers] == [200] * 3


def test_an_answer_that_takes_too_long_is_504_and_leaves_the_queue(run_app, slow_model, sequences):
    resume, _ = slow_model
    body = json.dumps({"instances": sequences[:1]}).encode()

    async def use(app, running):
        answers = await asyncio.gather(*(asgi.ask(app, "POST", PREDICT, body) for _ in range(9)))
        resume.set()
        end = time.monotonic() + 10
        while running.batcher.queue_rows and time.monotonic() < end:
            await asyncio.sleep(0.01)
        return answers, running.batcher.queue_rows

    answers, queue_rows = run_app(use, timeout=0.3)
    assert {answer.status for answer in answers} == {504} and queue_rows == 0
    assert asgi.error_message(answers[0], 504) == "No answer within 0.3 s"


def test_a_request_whose_client_has_gone_is_not_computed(run_app, slow_model, sequences):
    resume, began = slow_model
    body = json.dumps({"instances": sequences[:1]}).encode()

    async def use(app, running):
        first = asyncio.create_task(asgi.ask(app, "POST", PREDICT, body))
        await asyncio.to_thread(began.wait, 10)
        messages = [{"type": "http.request", "body": body}, {"type": "http.disconnect"}]

        async def receive():
            return messages.pop(0)

        scope = {"type": "http", "method": "POST", "path": PREDICT, "headers": []}
        await app(scope, receive, None)  # returns before the model does, and sends nothing
        resume.set()
        return await first, running.counters

    answer, counts = run_app(use)
    assert answer.status == 200
    assert b"camformer_batch_rows_sum 1.0" in counts.exposition()[0]
