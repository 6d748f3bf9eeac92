import contextlib
import io
import logging
import re
import time

import pytest

from camformer_tf import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(*reports: tuple[str, int, int]) -> str:
    """What a bar writes to a terminal from reports, so far apart that each is drawn."""
    with contextlib.redirect_stderr(Terminal()) as terminal:
        report = progress.bar()
        for one in reports:
            report(*one)
            time.sleep(0.12)  # tqdm draws at most ten times a second
        return terminal.getvalue()


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets: clock[0] is the time in seconds."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_silent_says_nothing(capsys):
    progress.silent("reading", 1, 2)
    assert capsys.readouterr() == ("", "")


# --- a bar ---


def test_a_bar_shows_stage_count_rate_and_time_left():
    last = shown(("writing", 0, 4000), ("writing", 1000, 4000)).split("\r")[-1]
    line = r"writing: +25%\|.*\| 1.00k/4.00k \[00:00<00:\d\d, [\d.]+k sequences/s\]"
    assert re.search(line, last)


def test_a_bar_without_a_total_shows_count_and_rate():
    last = shown(("reading", 0, 0), ("reading", 1500, 0)).split("\r")[-1]
    assert re.search(r"reading: 1.50k sequences \[00:00, [\d.]+k sequences/s\]", last)


def test_each_stage_has_its_own_bar():
    whole = shown(("reading", 5, 0), ("writing", 0, 10))
    assert whole.index("reading") < whole.index("writing")
    assert "reading" not in whole.split("\r")[-1] and "0.00/10.0" in whole.split("\r")[-1]


def test_a_bar_that_is_full_is_wiped_off():
    whole = shown(("writing", 10, 10))
    assert whole.endswith("\r") and not whole.split("\r")[-2].strip()


def test_a_full_bar_may_be_reported_again():
    assert shown(*[("writing", 10, 10)] * 3) == shown(("writing", 10, 10))


def test_a_bar_writes_nothing_to_standard_output(capsys):
    shown(("writing", 5, 10))
    assert capsys.readouterr().out == ""


# --- lines ---


def said(caplog) -> list[str]:
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
    assert said(caplog_info) == [
        "writing: 1,500 of 100,000 sequences, 50/s, 1,970 s left",
        "writing: 3,000 of 100,000 sequences, 50/s, 1,940 s left",
        "writing: 4,500 of 100,000 sequences, 50/s, 1,910 s left",
    ]


def test_a_line_without_a_total_has_no_time_left(clock, caplog_info):
    report = progress.lines()
    report("reading", 0, 0)
    clock[0] += 40
    report("reading", 4000, 0)
    assert said(caplog_info) == ["reading: 4,000 sequences, 100/s"]


def test_the_rate_is_that_of_the_stage_alone(clock, caplog_info):
    report = progress.lines()
    report("reading", 0, 0)
    clock[0] += 100
    report("writing", 100, 1100)
    clock[0] += 50
    report("writing", 600, 1100)
    assert said(caplog_info) == ["writing: 600 of 1,100 sequences, 10/s, 50 s left"]


def test_a_stage_that_stands_still_has_no_time_left(clock, caplog_info):
    report = progress.lines()
    report("writing", 0, 10)
    clock[0] += 31
    report("writing", 0, 10)
    assert said(caplog_info) == ["writing: 0 of 10 sequences, 0/s"]


def test_short_work_says_nothing(clock, caplog_info):
    report = progress.lines()
    for done in range(10):
        clock[0] += 2.9
        report("writing", done, 10)
    assert said(caplog_info) == []
