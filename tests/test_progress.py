import contextlib
import io
import logging
import re
import subprocess
import sys
import time
import types

import pytest

from camformer_tf import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawing(*calls: tuple[str, int, int]) -> str:
    """Returns what a bar writes to a terminal on calls that are far enough apart to be drawn."""
    with contextlib.redirect_stderr(Terminal()) as terminal:
        report = progress.bar()
        for stage, count, total in calls:
            report(stage, count, total)
            time.sleep(0.12)  # tqdm draws at most ten times a second
        return terminal.getvalue()


class Kernel:
    """An IPython shell as a notebook has it, or as a terminal has it."""

    def __init__(self, *, in_notebook: bool):
        self.config = {"IPKernelApp": {}} if in_notebook else {"TerminalIPythonApp": {}}


def use_shell(monkeypatch, shell: Kernel | None) -> None:
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: shell
    monkeypatch.setitem(sys.modules, "IPython", ipython)


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets: clock[0] is the time in seconds."""
    seconds = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    return seconds


def test_silent_writes_nothing(capsys):
    progress.silent("reading", 1, 2)
    assert capsys.readouterr() == ("", "")


# --- the default ---


def test_the_default_is_silent_without_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert progress.auto() is progress.silent


def test_the_default_is_a_bar_on_a_terminal():
    with contextlib.redirect_stderr(Terminal()) as terminal:
        progress.auto()("writing", 5, 10)
    assert "writing" in terminal.getvalue()


@pytest.mark.parametrize("in_notebook", [True, False])
def test_the_default_is_a_bar_in_a_notebook_but_not_in_any_ipython(monkeypatch, in_notebook):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    use_shell(monkeypatch, Kernel(in_notebook=in_notebook))
    assert (progress.auto() is progress.silent) is not in_notebook


def test_without_a_shell_ipython_may_be_imported(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    use_shell(monkeypatch, None)
    assert progress.auto() is progress.silent


def test_a_report_of_the_caller_is_used():
    def report(stage: str, count: int, total: int) -> None:
        raise AssertionError

    assert progress.auto(report) is report


def test_a_notebook_draws_a_widget_if_it_can(monkeypatch):
    calls = []

    class Widget:
        n = 0

        def __init__(self, **options):
            calls.append(options["desc"])

        def update(self, count):
            self.n += count

        def close(self):
            calls.append("closed")

    monkeypatch.setattr("tqdm.auto.tqdm", Widget)
    report = progress.bar()
    report("reading", 5, 10)
    report("writing", 10, 10)
    assert calls == ["reading", "closed", "writing", "closed"]


def test_tqdm_is_imported_at_the_first_report():
    program = (
        "import sys; from camformer_tf import progress; report = progress.bar()\n"
        "assert 'tqdm' not in sys.modules\n"
        "report('reading', 1, 2); assert 'tqdm' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)


# --- a bar ---


def test_a_bar_shows_stage_count_rate_and_time_left():
    last = drawing(("writing", 0, 4000), ("writing", 1000, 4000)).split("\r")[-1]
    line = r"writing: +25%\|.*\| 1.00k/4.00k \[00:00<00:\d\d, [\d.]+k sequences/s\]"
    assert re.search(line, last)


def test_a_bar_without_a_total_shows_count_and_rate():
    last = drawing(("reading", 0, 0), ("reading", 1500, 0)).split("\r")[-1]
    assert re.search(r"reading: 1.50k sequences \[00:00, [\d.]+k sequences/s\]", last)


def test_each_stage_has_its_own_bar():
    text = drawing(("reading", 5, 0), ("writing", 0, 10))
    assert text.index("reading") < text.index("writing")
    assert "reading" not in text.split("\r")[-1] and "0.00/10.0" in text.split("\r")[-1]


def test_a_full_bar_is_erased():
    text = drawing(("writing", 10, 10))
    assert text.endswith("\r") and not text.split("\r")[-2].strip()


def test_a_full_bar_may_be_reported_again():
    assert drawing(*[("writing", 10, 10)] * 3) == drawing(("writing", 10, 10))


def test_a_bar_writes_nothing_to_standard_output(capsys):
    drawing(("writing", 5, 10))
    assert capsys.readouterr().out == ""


# --- lines ---


def messages(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.fixture
def caplog_info(caplog):
    caplog.set_level(logging.INFO, logger="camformer_tf")
    return caplog


def test_a_line_every_thirty_seconds(clock, caplog_info):
    report = progress.lines()
    for second in range(0, 100):
        clock[0] = 1000.0 + second
        report("writing", second * 50, 100_000)
    assert messages(caplog_info) == [
        "writing: 1,500 of 100,000 sequences, 50/s, 1,970 s left",
        "writing: 3,000 of 100,000 sequences, 50/s, 1,940 s left",
        "writing: 4,500 of 100,000 sequences, 50/s, 1,910 s left",
    ]


def test_a_line_without_a_total_has_no_time_left(clock, caplog_info):
    report = progress.lines()
    report("reading", 0, 0)
    clock[0] += 40
    report("reading", 4000, 0)
    assert messages(caplog_info) == ["reading: 4,000 sequences, 100/s"]


def test_the_rate_is_of_the_current_stage_only(clock, caplog_info):
    report = progress.lines()
    report("reading", 0, 0)
    clock[0] += 100
    report("writing", 100, 1100)
    clock[0] += 50
    report("writing", 600, 1100)
    assert messages(caplog_info) == ["writing: 600 of 1,100 sequences, 10/s, 50 s left"]


def test_a_stage_without_progress_has_no_time_left(clock, caplog_info):
    report = progress.lines()
    report("writing", 0, 10)
    clock[0] += 31
    report("writing", 0, 10)
    assert messages(caplog_info) == ["writing: 0 of 10 sequences, 0/s"]


def test_short_work_logs_nothing(clock, caplog_info):
    report = progress.lines()
    for count in range(10):
        clock[0] += 2.9
        report("writing", count, 10)
    assert messages(caplog_info) == []


def test_tensorflow_is_quiet_about_files_and_still_warns():
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        with progress.quiet_tensorflow():
            assert not logger.isEnabledFor(logging.INFO)
            assert logger.isEnabledFor(logging.WARNING)
        assert logger.level == logging.INFO
    finally:
        logger.setLevel(level)
