import os
import signal
import threading

import pytest

from camformer_tf.training import child


def test_the_exit_code_is_that_of_the_command(tmp_path, capfd):
    assert child.run(["--version"]) == 0
    assert child.run(["fit", "--no-such-option"]) == 2
    assert "camformer-tf" in capfd.readouterr().out


def test_output_goes_to_a_file(tmp_path):
    with (tmp_path / "log.txt").open("w") as file:
        assert child.run(["--version"], stdout=file) == 0
    assert "version" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_a_signal_is_passed_on_and_its_handler_comes_back(monkeypatch, number):
    monkeypatch.setattr(child.sys, "executable", "/bin/sleep")  # -m: an unknown option of sleep
    handler = signal.getsignal(number)
    popen = child.subprocess.Popen
    monkeypatch.setattr(
        child.subprocess, "Popen", lambda command, **options: popen(["sleep", "60"], **options)
    )
    timer = threading.Timer(0.5, os.kill, (os.getpid(), number))
    timer.start()
    assert child.run(["fit"]) == 128 + number
    assert signal.getsignal(number) is handler


def test_in_another_thread_it_runs_without_handlers():
    codes = []
    thread = threading.Thread(target=lambda: codes.append(child.run(["--version"])))
    thread.start()
    thread.join()
    assert codes == [0]
