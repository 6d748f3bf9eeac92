import types
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.stats

from camformer_tf.training import callbacks, optimizers, reports

GOLDEN = Path(__file__).parents[1] / "golden" / "log_2022.tsv"
KEYS = {
    "train_loss": "loss",
    "val_loss": "val_loss",
    "train_pearson": "pearson",
    "val_pearson": "val_pearson",
    "train_spearman": "spearman",
    "val_spearman": "val_spearman",
}


@pytest.fixture
def published() -> pd.DataFrame:
    return pd.read_csv(GOLDEN, sep="\t", comment="#")


def replay(epochs, calls, rate=0.001):
    """Feeds logs, one dict an epoch, to callbacks as a loop does.

    Returns the fake model, the rate of each epoch and the epochs (from 1) that improved."""
    model = types.SimpleNamespace(
        stop_training=False, optimizer=types.SimpleNamespace(learning_rate=rate)
    )
    rates, better_epochs = [], []
    for call in calls:
        call.set_model(model)
        call.on_train_begin()
    for epoch, logs in enumerate(epochs):
        rates.append(model.optimizer.learning_rate)
        for call in calls:
            call.on_epoch_begin(epoch)
        for call in calls:
            call.on_epoch_end(epoch, logs)
        better_epochs += [epoch + 1] * bool(logs.get("improved"))
        if model.stop_training:
            break
    for call in calls:
        call.on_train_end()
    return model, rates, better_epochs


def as_logs(table: pd.DataFrame) -> list[dict]:
    logs = table[list(KEYS)].rename(columns=KEYS).to_dict("records")
    return [dict(row, val_score=row["val_pearson"] + row["val_spearman"]) for row in logs]


def test_the_published_log_replays_every_asterisk_the_cut_and_the_stop(published, tmp_path):
    stop = callbacks.EarlyStop(10)
    _, rates, better_epochs = replay(
        as_logs(published),
        [callbacks.Plateau(), stop, reports.ReferenceLog(tmp_path / "l", stop)],
    )
    assert better_epochs == published.epoch[published.improved == 1].tolist()
    assert len(better_epochs) == 14
    np.testing.assert_allclose(rates, published.learning_rate)  # one cut, after epoch 23
    assert (stop.best_epoch, stop.has_stopped, len(rates)) == (24, True, 34)


def test_the_log_is_the_published_table_line_for_line(published, tmp_path):
    stop = callbacks.EarlyStop(10)
    log = reports.ReferenceLog(tmp_path / "log.txt", stop)
    replay(as_logs(published), [stop, log])
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert lines[0] == "\t\tT loss\tV loss\tT r\tV r\tT rho\tV rho"
    # As the original prints them: without padding zeros, as in epochs 2 and 24.
    assert lines[1] == "Epoch 1:\t1.3174\t1.3255\t0.6716\t0.7136\t0.6909\t0.7293\t*"
    assert lines[2] == "Epoch 2:\t1.2353\t1.1921\t0.7153\t0.732\t0.7315\t0.7503\t*"
    assert lines[9] == "Epoch 9:\t1.1671\t1.1574\t0.7427\t0.7452\t0.7591\t0.7624"
    assert lines[24] == "Epoch 24:\t1.12\t1.1509\t0.7581\t0.7481\t0.7748\t0.7655\t*"
    assert lines[35:] == ["Early stop, best epoch 24"]


def test_keras_own_plateau_would_cut_an_epoch_earlier(published):
    # The reason for our own callback; and proof that the replay distinguishes the two.
    plateau = keras.callbacks.ReduceLROnPlateau(patience=10, min_delta=1e-4)
    model = types.SimpleNamespace(
        optimizer=types.SimpleNamespace(learning_rate=keras.Variable(0.001))
    )
    plateau.set_model(model)
    plateau.on_train_begin()
    rates = []
    for epoch, logs in enumerate(as_logs(published)):
        rates.append(float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)))
        plateau.on_epoch_end(epoch, logs)
    assert np.flatnonzero(np.isclose(rates, 1e-4))[0] + 1 == 23  # ours: 24


def test_plateau_counts_only_relative_improvement_as_better():
    losses = [1.0, 0.99995, 0.99985, 0.5]  # better only below 1 - 1e-4: the third and fourth
    plateau = callbacks.Plateau(patience=0)
    _, rates, _ = replay([{"val_loss": v} for v in losses], [plateau], rate=1.0)
    assert rates == pytest.approx([1.0, 1.0, 0.1, 0.1])


def test_plateau_leaves_a_rate_that_would_hardly_change():
    plateau = callbacks.Plateau(patience=0)
    _, rates, _ = replay([{"val_loss": 1.0}] * 4, [plateau], rate=1e-8)
    assert rates == [1e-8] * 4


def test_early_stop_requires_strictly_better_scores():
    stop = callbacks.EarlyStop(2)
    _, rates, better_epochs = replay([{"val_score": s} for s in [0.5, 0.5, 0.5, 0.9]], [stop])
    assert (better_epochs, stop.best_epoch, len(rates)) == ([1], 1, 3)


def test_early_stop_saves_the_model_at_every_improvement():
    models = []
    stop = callbacks.EarlyStop(5, save=models.append)
    model, _, _ = replay([{"val_score": s} for s in [0.1, 0.3, 0.2, 0.4]], [stop])
    assert models == [model] * 3


def test_an_undefined_correlation_is_nan_and_counts_nothing_in_the_score():
    scores = callbacks.CorrelationScores(
        np.zeros((4, 1)), np.arange(4.0), predict=lambda x: np.ones(4)
    )
    logs = {}
    scores.on_epoch_end(0, logs)
    assert np.isnan(logs["val_pearson"]) and np.isnan(logs["val_spearman"])
    assert logs["val_score"] == 0


def test_the_validation_loss_is_weighted_and_the_correlations_are_not():
    y, p, w = np.random.default_rng(0).normal(size=(3, 50))
    logs = [{}, {}]
    for log, weight in zip(logs, (None, w**2), strict=True):
        scores = callbacks.CorrelationScores(
            p, y, loss=lambda a, b: np.abs(a - b), predict=lambda x: x, weight=weight
        )
        scores.on_epoch_end(0, log)
    assert logs[1]["val_loss"] == pytest.approx(np.mean(np.abs(y - p) * w**2), rel=1e-6)
    assert logs[0]["val_loss"] == pytest.approx(np.mean(np.abs(y - p)), rel=1e-6)
    assert logs[0]["val_score"] == logs[1]["val_score"]


def test_one_cycle_runs_between_the_published_rates():
    rates = [optimizers.one_cycle(i, 100, optimizers.ONE_CYCLE_RATES) for i in range(100)]
    betas = [optimizers.one_cycle(i, 100, optimizers.ONE_CYCLE_BETAS) for i in range(100)]
    assert (rates[0], rates[29], rates[99]) == pytest.approx((4e-4, 0.01, 4e-8))
    assert (betas[0], betas[29], betas[99]) == pytest.approx((0.95, 0.85, 0.95))
    assert max(rates) == rates[29] and min(betas) == betas[29]


@pytest.fixture(scope="module")
def plain_fit(tmp_path_factory):
    """A plain `model.fit` of a Keras regression model that is not ours, with our callbacks."""
    folder = tmp_path_factory.mktemp("plain")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 5)).astype(np.float32)
    y = np.round(x @ rng.normal(size=5) + rng.normal(size=400)).reshape(-1, 1)  # ties, (N, 1)
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(1)]
    )
    model.compile("sgd", "mae")
    stop = callbacks.EarlyStop(2, save=lambda model: model.save(folder / "best.keras"))
    calls = [
        callbacks.CorrelationScores(x[300:], y[300:]),
        callbacks.Plateau(patience=1),
        stop,
        reports.HistoryFile(folder / "history.csv"),
        reports.ReferenceLog(folder / "log.txt", stop),
    ]
    history = model.fit(x[:300], y[:300], validation_data=(x[300:], y[300:]), epochs=6, verbose=0,
                       callbacks=calls)  # fmt: skip
    return folder, model, history.history, x[300:], y[300:]


def test_in_a_plain_fit_the_scores_are_those_of_scipy(plain_fit):
    _, model, history, x, y = plain_fit
    prediction = model.predict(x, verbose=0)[:, 0]
    # float32 predictions in both; only the batching of `predict` may differ
    expected = scipy.stats.pearsonr(y[:, 0], prediction)[0]
    assert history["val_pearson"][-1] == pytest.approx(expected, abs=1e-6)
    expected = scipy.stats.spearmanr(y[:, 0], prediction)[0]
    assert history["val_spearman"][-1] == pytest.approx(expected, abs=1e-6)


def test_in_a_plain_fit_the_best_epoch_is_the_one_saved(plain_fit):
    folder, _, history, x, y = plain_fit
    best = keras.models.load_model(folder / "best.keras")
    r = scipy.stats.pearsonr(y[:, 0], best.predict(x, verbose=0)[:, 0])[0]
    assert r == pytest.approx(
        history["val_pearson"][int(np.argmax(history["val_score"]))], abs=1e-6
    )


def test_in_a_plain_fit_the_history_file_leaves_unknown_columns_empty(plain_fit):
    folder, _, history, _, _ = plain_fit
    table = pd.read_csv(folder / "history.csv")
    assert table.train_pearson.isna().all()
    np.testing.assert_array_equal(table.val_loss, history["val_loss"])
    assert len((folder / "log.txt").read_text().splitlines()) >= 1 + len(table)


def test_one_cycle_moves_rate_and_beta_before_each_step():
    from camformer_tf import recipe

    optimizer = optimizers.build(recipe.TrainConfig(schedule="onecycle"))
    model = types.SimpleNamespace(optimizer=optimizer)
    cycle = callbacks.OneCycle(10)
    cycle.set_model(model)
    cycle.on_train_begin()
    for batch in range(3):
        cycle.on_train_batch_begin(batch)
    assert float(keras.ops.convert_to_numpy(optimizer.learning_rate)) == pytest.approx(0.01)
    assert float(keras.ops.convert_to_numpy(optimizer.beta_1)) == pytest.approx(0.85)
