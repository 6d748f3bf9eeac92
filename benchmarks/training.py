"""Measures training and prediction beside PyTorch and the rate of multiplying matrices, in one run.

    python benchmarks/training.py [--recipes original,small,mini] [--repeats 5] [--before CHECKOUT]

Each way is a process of its own that waits for its turn; the turns go round, so that a noisy moment
hits all; rates are medians of the turns. PyTorch, where it is installed, runs the network of
tests/torch_model.py in float32 and under bfloat16 autocast, with channels first and last, and
AdamW's fused step. `--before` adds another checkout of camformer_tf, as of an older commit. Ours
trains by its own loop, batches read from records, scores included. The table goes to
benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import records  # the benchmark of that name, for its save()

TESTS = Path(__file__).parents[1] / "tests"
BATCH = {"original": 128, "small": 256, "mini": 256}
SECONDS = 4  # a turn, at least
SIDE = 4096
OURS = ("float32", "mixed_bfloat16")
TORCH = ("float32", "float32 channels last", "bfloat16", "bfloat16 channels last")


def turns(work) -> None:
    """Answers each line of standard input with items done and seconds."""
    work()  # traces, allocates
    work()
    print("ready", flush=True)
    for _ in sys.stdin:
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < SECONDS:
            done += work()
        print(done, time.perf_counter() - start, flush=True)


def gigaflop(name: str) -> float:
    """Returns what a prediction of one sequence takes; a training step takes three times that."""
    from camformer_tf import recipe
    from camformer_tf.model import rescnn

    layers = [layer for layer in rescnn.from_recipe(recipe.load(name)).layers if layer.weights]
    weights = {layer: layer.weights[0].shape for layer in layers if "norm" not in layer.name}
    places = {layer: layer.output.shape[1] if len(s) == 3 else 1 for layer, s in weights.items()}
    return sum(2 * math.prod(shape) * places[layer] for layer, shape in weights.items()) / 1e9


def multiply(precision: str) -> None:
    import tensorflow as tf

    matrix = tf.cast(tf.random.normal((SIDE, SIDE)), precision)
    product = tf.function(lambda a: tf.reduce_sum(tf.matmul(a, a)))

    def work() -> float:
        float(product(matrix))
        return 2 * SIDE**3 / 1e9

    turns(work)


def train_ours(name: str, precision: str, folder: str) -> None:
    import keras

    from camformer_tf import recipe
    from camformer_tf.batches import dataset
    from camformer_tf.data import sequence
    from camformer_tf.model import rescnn
    from camformer_tf.training import loop, optimizer, strategy

    class Turns(keras.callbacks.Callback):
        """Lets the training wait for its turns."""

        calls, first = 0, None

        def on_epoch_begin(self, epoch, logs=None):
            self.before = epoch * batches.steps

        def on_train_batch_end(self, batch, logs=None):
            self.calls += 1
            if self.calls < 3 or (self.first and time.perf_counter() - self.start < SECONDS):
                return
            steps = self.before + batch + 1
            if self.first:
                print((steps - self.first) * BATCH[name], time.perf_counter() - self.start)
            else:
                print("ready")
            sys.stdout.flush()
            if not sys.stdin.readline():
                self.model.stop_training = True
            self.start, self.first = time.perf_counter(), steps

    made = strategy.make("one", precision=precision)
    settings = recipe.load(name)
    model = rescnn.from_recipe(settings, made.precision)
    model.optimizer = optimizer.optimizer(settings.train)
    model.optimizer.build(model.trainable_variables)
    batches = dataset.load(Path(folder), "train", BATCH[name], seed=1)
    table = sequence.training_table(settings.data.encoding)
    loss = optimizer.loss(settings.train.loss)
    options = {}
    if hasattr(made, "xla"):  # not in older checkouts
        options = {"steps_per_call": made.steps_per_call, "xla": made.xla}
    loop.train(model, batches, loss=loss, table=table, strategy=made.strategy, epochs=10**6,
               batch_size=BATCH[name], callbacks=[Turns()], **options)  # fmt: skip


def predict_ours(name: str, precision: str, folder: str) -> None:
    from camformer_tf import recipe
    from camformer_tf.data import records as record_sets
    from camformer_tf.model import rescnn

    settings = recipe.load(name)
    model = rescnn.from_recipe(settings)
    try:
        from camformer_tf.model import predictors

        folding = predictors.folding
    except ImportError:  # an older checkout
        from camformer_tf.model import predict

        folding = predict.folding_predictor
    predictor = folding(model, settings, precision)
    letters = record_sets.read(Path(folder), "train").letters[:2048]

    def work() -> int:
        predictor(letters)
        return len(letters)

    turns(work)


def torch_network(name: str, precision: str):
    """Returns network, input, and a context for the precision."""
    import torch

    sys.path.insert(0, str(TESTS))
    from support import torch_model

    from camformer_tf import recipe
    from camformer_tf.data import sequence

    settings = recipe.load(name)
    channels = sequence.channels(settings.data.encoding)
    network = torch_model.Camformer(settings.model, channels=channels)
    x = torch.rand(BATCH[name], channels, 110, 1)
    if precision.endswith("last"):
        network = network.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    cast = torch.autocast("cpu", torch.bfloat16, enabled=precision.startswith("bfloat16"))
    return network, x, cast


def train_torch(name: str, precision: str, folder: str) -> None:
    import torch

    network, x, cast = torch_network(name, precision)
    y = torch.rand(len(x))
    adamw = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-3, fused=True)

    def work() -> int:
        adamw.zero_grad()
        with cast:
            loss = (network(x).float() - y).abs().mean()
        loss.backward()
        adamw.step()
        return len(x)

    turns(work)


def predict_torch(name: str, precision: str, folder: str) -> None:
    import torch

    network, x, cast = torch_network(name, precision)
    network.eval()

    def work() -> int:
        with torch.inference_mode(), cast:
            network(x)
        return len(x)

    turns(work)


class Runner:
    """One way to do the work, in a process of its own that stops between its turns."""

    def __init__(self, *arguments: str, checkout: Path | None = None):
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        if checkout:
            environment["PYTHONPATH"] = str(checkout)
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--one", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.rates: list[float] = []
        while self._line() != "ready":
            pass

    def turn(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        done, seconds = map(float, self._line().split())
        self.rates.append(done / seconds)

    def rate(self) -> float:
        return statistics.median(self.rates)

    def end(self) -> float:
        """Ends the process and returns its peak memory in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        self.process.kill()
        self.process.wait()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def _line(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args[3:]} ended; see above")
        return line.strip()


def compare(name: str, what: str, folder: str, repeats: int, before: Path | None) -> list[str]:
    """Returns the lines of the table for one recipe, training or prediction."""
    ways = {f"camformer_tf {p}": Runner(f"{what}_ours", name, p, folder) for p in OURS}
    if before:
        old = OURS if what == "train" else OURS[:1]
        for p in old:
            runner = Runner(f"{what}_ours", name, p, folder, checkout=before)
            ways[f"camformer_tf before, {p}"] = runner
    if importlib.util.find_spec("torch"):
        ways |= {f"PyTorch {p}": Runner(f"{what}_torch", name, p, folder) for p in TORCH}
    peaks = {p: Runner("multiply", p) for p in ("float32", "bfloat16")}
    for _ in range(repeats):
        for runner in [*peaks.values(), *ways.values()]:
            runner.turn()
    flop = gigaflop(name) * (3 if what == "train" else 1)
    peak = {p: runner.rate() / flop for p, runner in peaks.items()}
    plain = ways["PyTorch float32"].rate() if "PyTorch float32" in ways else float("nan")
    best = max((r.rate() for way, r in ways.items() if "PyTorch" in way), default=float("nan"))
    lines = []
    for way, runner in ways.items():
        rate = runner.rate()
        share = rate / peak["bfloat16" if "bfloat16" in way else "float32"]
        lines.append(
            f"| {name} | {'training' if what == 'train' else 'prediction'} | {way} | {rate:,.1f} | "
            f"{share:.0%} | {rate / plain:.2f} | {rate / best:.2f} | {runner.end():,.0f} |"
        )
    shown = ", ".join(f"{p} {value:,.0f}" for p, value in peak.items())
    print(f"{name} {what}: matrices allow {shown} sequences/s")
    for runner in peaks.values():
        runner.end()
    print("\n".join(lines), flush=True)
    return lines


def main(recipes: list[str], repeats: int, before: Path | None) -> None:
    lines = [
        "| recipe | what | way | sequences/s | of the rate of matrices | ÷ PyTorch float32 | "
        "÷ PyTorch's best | peak memory, MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as made:
        command = [sys.executable, "-m", "camformer_tf.cli"]
        text, folder = f"{made}/library.txt", f"{made}/records"
        quiet = {"check": True, "stdout": subprocess.DEVNULL}
        subprocess.run([*command, "simulate", text, "--sequences", "50000", "--quiet"], **quiet)
        subprocess.run([*command, "build-records", text, folder, "--quiet"], **quiet)
        for name in recipes:
            for what in ("train", "predict"):
                lines += compare(name, what, folder, repeats, before)
    torch_version = "no PyTorch"
    if importlib.util.find_spec("torch"):
        torch_version = f"PyTorch {importlib.metadata.version('torch')}"
    about = (
        f"{os.cpu_count()} cores ({records.processor()}), {torch_version}; medians of {repeats} "
        f"turns of {SECONDS} s or more. Batches of {BATCH} in training, 1,024 in our prediction. "
        f"The rate of matrices is TensorFlow's with {SIDE} rows and columns in that precision."
    )
    records.save("Training and prediction", f"{about}\n\n" + "\n".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", default="original,small,mini")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        globals()[chosen.one[0]](*chosen.one[1:])
    else:
        main(chosen.recipes.split(","), chosen.repeats, chosen.before)
