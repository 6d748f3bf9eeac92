import datetime

import pytest

from camformer_tf.training import callbacks, reports

START = datetime.datetime(2026, 3, 1, 2, 0)


@pytest.mark.parametrize(
    ("epochs", "seconds", "text"),
    [
        (1, 19 * 60, "1 epoch left, done by 02:19"),
        (1_200, 1, "1,200 epochs left, done by 02:20"),
        (3, 12 * 3600, "3 epochs left, done by 2026-03-02 14:00"),
    ],
)
def test_the_time_left_is_right_in_number_and_has_a_date_on_another_day(epochs, seconds, text):
    assert reports.time_left(epochs, seconds, START) == text


def test_the_estimate_is_logged_once(caplog):
    caplog.set_level("INFO")
    estimate = reports.Estimate(3)
    for epoch in range(3):
        estimate.on_epoch_begin(epoch)
        estimate.on_epoch_end(epoch, {"sequences_per_second": 1234.5})
    assert caplog.text.count("1,234 sequences/s") == 1 and "2 epochs left" in caplog.text


def test_progress_counts_the_sequences_of_an_epoch():
    calls = []
    report = reports.ProgressReport(
        lambda *call: calls.append(call), epochs=2, steps=3, batch_size=10
    )
    report.on_epoch_begin(1)
    report.on_train_batch_end(0)
    report.on_train_batch_end(2)
    assert calls == [("epoch 2/2", 10, 30), ("epoch 2/2", 30, 30)]


def test_a_text_file_is_restored_as_it_was(tmp_path):
    path = tmp_path / "log.txt"
    log = reports.ReferenceLog(path, callbacks.EarlyStop())
    log.on_train_begin()
    state, text = log.state(), path.read_text()
    log.on_epoch_end(0, {"improved": True})
    assert path.read_text().endswith("Epoch 1:\tnan\tnan\tnan\tnan\tnan\tnan\t*\n")
    log.restore(state)
    assert path.read_text() == text
