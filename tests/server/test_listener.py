"""Clients that misbehave, over real connections."""

import contextlib
import json
import sys
import time

import pytest
from support import http_client

from camformer_tf import errors
from camformer_tf.server import listener, server

OPTIONS = {"port": 0, "max_batch_size": 16, "max_request_bytes": 50_000, "timeout": 20}


def is_serving(url, sequences):
    return http_client.ask(http_client.connect(url), sequences[:1])[0] == 200


def test_a_request_that_is_too_large_gets_its_answer(toy_folder, sequences):
    with server.serve(toy_folder, **OPTIONS) as running:
        connection = http_client.connect(running.url)
        connection.request("POST", http_client.PREDICT, b" " * 150_000)
        answer = connection.getresponse()
        assert answer.status == 413 and "larger" in json.loads(answer.read())["error"]
        assert is_serving(running.url, sequences)


def test_a_connection_that_breaks_off_leaves_nothing_behind(toy_folder, sequences):
    with server.serve(toy_folder, **OPTIONS) as running:
        head = b"POST %s HTTP/1.1\r\n" % http_client.PREDICT.encode()
        for part in (b"", b"PO", head + b"Host", head + b"content-length: 99\r\n\r\n{"):
            sock = http_client.open_socket(running.url)
            sock.sendall(part)
            sock.close()
        assert is_serving(running.url, sequences)


def test_a_request_without_end_is_closed_at_the_time_limit(toy_folder, sequences):
    with server.serve(toy_folder, **OPTIONS | {"timeout": 0.5}) as running:
        silent, head, body = (http_client.open_socket(running.url) for _ in range(3))
        head.sendall(b"GET / HTTP/1.1\r\nx: ")
        body.sendall(
            b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"
            % http_client.PREDICT.encode()
        )
        assert silent.recv(1) == head.recv(1) == b""
        assert body.recv(15) == b"HTTP/1.1 408 Re"
        for sock in (silent, head, body):
            sock.close()
        assert is_serving(running.url, sequences)


def test_a_connection_that_is_used_again_has_a_new_time_limit(toy_folder, sequences):
    with server.serve(toy_folder, **OPTIONS | {"timeout": 0.5}) as running:
        connection = http_client.connect(running.url)
        for _ in range(3):
            assert http_client.ask(connection, sequences[:1])[0] == 200
            time.sleep(0.4)  # in all, longer than the time limit


def test_a_head_that_is_too_large_is_closed(toy_folder):
    with server.serve(toy_folder, **OPTIONS) as running:
        sock = http_client.open_socket(running.url)
        sock.sendall(b"GET / HTTP/1.1\r\nx: ")
        with contextlib.suppress(OSError):
            for _ in range(100):
                sock.sendall(b"x" * 10_000)
            assert sock.recv(1) == b""


def test_anything_but_http_is_400(toy_folder):
    with server.serve(toy_folder, **OPTIONS) as running:
        sock = http_client.open_socket(running.url)
        sock.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert sock.recv(15).startswith(b"HTTP/1.1 400")
        sock.close()


def test_an_address_of_another_machine_is_the_users_mistake(toy_folder):
    with (
        pytest.raises(errors.UserError, match="192.0.2.1:0: .* Choose another --host or --port"),
        server.serve(toy_folder, host="192.0.2.1", port=0),
    ):
        pass


def test_an_ipv6_address_is_in_brackets(toy_folder, sequences):
    try:
        listener._bind("::1", 0).close()
    except errors.UserError:
        pytest.skip("this machine has no IPv6")
    with server.serve(toy_folder, host="::1", port=0) as running:
        assert running.url.startswith("http://[::1]:")
        assert is_serving(running.url, sequences)


def test_a_missing_package_is_named_with_what_to_install(toy_folder, monkeypatch):
    for name, extra in (("prometheus_client", "serve"), ("uvicorn", "serve"), ("grpc", "grpc")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with (
                pytest.raises(errors.UserError, match=rf"camformer-tf\[{extra}\]"),
                server.serve(toy_folder, port=0, grpc_port=0),
            ):
                pass
