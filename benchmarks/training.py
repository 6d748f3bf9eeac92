"""Measures training and prediction beside PyTorch and the rate of matrix products, in one run.

    python benchmarks/training.py [--recipes original,small,mini] [--repeats 5] [--before CHECKOUT]

Each way is a process of its own that waits for its turn. The turns alternate, so that a noisy
moment hits all; rates are medians of the turns. PyTorch, where it is installed, runs the network of
tests/support/torch_model.py in float32 and under bfloat16 autocast, with channels first and last,
and AdamW's fused step. `--before` adds another checkout of camformer_tf, such as an older commit,
which runs its own copy of this file. Our training is the package's own loop, with batches read from
records and scores. The table goes to benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import harness
import networks

BATCH = {"original": 128, "small": 256, "mini": 256, "smoke": 128}
SECONDS = 4  # of a turn, at least
SIDE = 4096
PRECISIONS = ("float32", "mixed_bfloat16")
TORCH = ("float32", "float32 channels last", "bfloat16", "bfloat16 channels last")


# === The ways, each in a process of its own ===


def work_in_turns(work: Callable[[], float]) -> None:
    """Answers each line of standard input with the amount of work done and its seconds."""
    work()  # traces, allocates
    work()
    print("ready", flush=True)
    for _ in sys.stdin:
        start, amount = time.perf_counter(), 0.0
        while time.perf_counter() - start < SECONDS:
            amount += work()
        print(amount, time.perf_counter() - start, flush=True)


def multiply(precision: str) -> None:
    import tensorflow as tf

    matrix = tf.cast(tf.random.normal((SIDE, SIDE)), precision)
    product = tf.function(lambda a: tf.reduce_sum(tf.matmul(a, a)))

    def work() -> float:
        float(product(matrix))
        return 2 * SIDE**3 / 1e9

    work_in_turns(work)


def train_ours(name: str, precision: str, folder: str) -> None:
    import keras

    from camformer_tf import recipe
    from camformer_tf.batches import dataset
    from camformer_tf.data import sequence
    from camformer_tf.model import rescnn
    from camformer_tf.training import loop, optimizers, strategies

    class Turns(keras.callbacks.Callback):
        """Makes the training wait for its turns."""

        calls, first = 0, None

        def on_epoch_begin(self, epoch, logs=None):
            self.first_step = epoch * batches.steps

        def on_train_batch_end(self, batch, logs=None):
            self.calls += 1
            if self.calls < 3 or (self.first and time.perf_counter() - self.start < SECONDS):
                return
            steps = self.first_step + batch + 1
            if self.first:
                print((steps - self.first) * BATCH[name], time.perf_counter() - self.start)
            else:
                print("ready")
            sys.stdout.flush()
            if not sys.stdin.readline():
                self.model.stop_training = True
            self.start, self.first = time.perf_counter(), steps

    devices = strategies.make("one", precision=precision)
    settings = recipe.load(name)
    model = rescnn.from_recipe(settings, devices.precision)
    model.optimizer = optimizers.build(settings.train)
    model.optimizer.build(model.trainable_variables)
    batches = dataset.batches(Path(folder), batch_size=BATCH[name], seed=1)
    loop.train(
        model,
        batches,
        loss=optimizers.loss(settings.train.loss),
        table=sequence.training_table(settings.data.encoding),
        strategy=devices.strategy,
        epochs=10**6,
        batch_size=BATCH[name],
        callbacks=[Turns()],
        steps_per_call=devices.steps_per_call,
        xla=devices.xla,
    )


def predict_ours(name: str, precision: str, folder: str) -> None:
    from camformer_tf import recipe
    from camformer_tf.data import records
    from camformer_tf.model import predictors, rescnn

    settings = recipe.load(name)
    predictor = predictors.folding(rescnn.from_recipe(settings), settings, precision)
    letters = records.read(Path(folder), "train").letters[:2048]

    def work() -> int:
        predictor(letters)
        return len(letters)

    work_in_turns(work)


def torch_network(name: str, precision: str):
    """Returns network, input, and a context for the precision."""
    import torch

    sys.path.insert(0, str(harness.ROOT / "tests"))
    from support import torch_model

    from camformer_tf import recipe
    from camformer_tf.data import sequence

    settings = recipe.load(name)
    channels = sequence.channels(settings.data.encoding)
    network = torch_model.Camformer(settings.model, channels=channels)
    x = torch.rand(BATCH[name], channels, 110, 1)  # (N, C, L, 1)
    if precision.endswith("last"):
        network = network.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision.startswith("bfloat16"))
    return network, x, autocast


def train_torch(name: str, precision: str, folder: str) -> None:
    import torch

    network, x, autocast = torch_network(name, precision)
    y = torch.rand(len(x))
    adamw = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-3, fused=True)

    def work() -> int:
        adamw.zero_grad()
        with autocast:
            loss = (network(x).float() - y).abs().mean()
        loss.backward()
        adamw.step()
        return len(x)

    work_in_turns(work)


def predict_torch(name: str, precision: str, folder: str) -> None:
    import torch

    network, x, autocast = torch_network(name, precision)
    network.eval()

    def work() -> int:
        with torch.inference_mode(), autocast:
            network(x)
        return len(x)

    work_in_turns(work)


PARTS = {  # their names and arguments stay, so that --before can run an older copy of this file
    "multiply": multiply,
    "train_ours": train_ours,
    "predict_ours": predict_ours,
    "train_torch": train_torch,
    "predict_torch": predict_torch,
}


# === The comparison ===


class Runner:
    """A way to do the work, in a process of its own that stops between its turns."""

    def __init__(self, *words: str, checkout: Path | None = None):
        environment, command = dict(harness.QUIET), harness.part_command(__file__, *words)
        if checkout:
            environment["PYTHONPATH"] = str(checkout)
            command[1] = str(checkout / "benchmarks" / "training.py")
            if not (checkout / "benchmarks" / "harness.py").exists():
                command[2] = "--one"  # as this option was called before
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.rates: list[float] = []
        while self._read_line() != "ready":
            pass

    def turn(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        amount, seconds = map(float, self._read_line().split())
        self.rates.append(amount / seconds)

    def rate(self) -> float:
        return statistics.median(self.rates)

    def stop(self) -> float:
        """Ends the process and returns its peak memory in MiB."""
        peak = harness.peak_memory(self.process.pid)
        self.process.kill()
        self.process.wait()
        return peak

    def _read_line(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args[3:]} ended; see above")
        return line.strip()


def runners(name: str, work: str, folder: str, checkout: Path | None) -> dict[str, Runner]:
    """Returns every way to train ("train") or predict ("predict") with a recipe, started."""
    by_title = {f"camformer_tf {p}": Runner(f"{work}_ours", name, p, folder) for p in PRECISIONS}
    if checkout:
        for p in PRECISIONS if work == "train" else PRECISIONS[:1]:
            runner = Runner(f"{work}_ours", name, p, folder, checkout=checkout)
            by_title[f"camformer_tf before, {p}"] = runner
    if importlib.util.find_spec("torch"):
        by_title |= {f"PyTorch {p}": Runner(f"{work}_torch", name, p, folder) for p in TORCH}
    return by_title


def compare(name: str, work: str, folder: str, repeats: int, checkout: Path | None) -> list[str]:
    """Returns the rows of one recipe, training or prediction."""
    by_title = runners(name, work, folder, checkout)
    products = {p: Runner("multiply", p) for p in ("float32", "bfloat16")}
    for _ in range(repeats):
        for runner in [*products.values(), *by_title.values()]:
            runner.turn()
    gigaflop = networks.gigaflop(name) * (3 if work == "train" else 1)
    peaks = {p: runner.rate() / gigaflop for p, runner in products.items()}
    torch_rates = {title: r.rate() for title, r in by_title.items() if "PyTorch" in title}
    plain_torch = torch_rates.get("PyTorch float32", float("nan"))
    best_torch = max(torch_rates.values(), default=float("nan"))
    lines = []
    for title, runner in by_title.items():
        rate = runner.rate()
        share = rate / peaks["bfloat16" if "bfloat16" in title else "float32"]
        kind = "training" if work == "train" else "prediction"
        lines.append(
            f"| {name} | {kind} | {title} | {rate:,.1f} | {share:.0%} | {rate / plain_torch:.2f} | "
            f"{rate / best_torch:.2f} | {runner.stop():,.0f} |"
        )
    limits = ", ".join(f"{p} {value:,.0f}" for p, value in peaks.items())
    print(f"{name} {work}: matrix products allow {limits} sequences/s")
    for runner in products.values():
        runner.stop()
    print("\n".join(lines), flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", default="original,small,mini")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--before", type=Path, dest="checkout", metavar="CHECKOUT")
    options = harness.parse(parser, PARTS)
    lines = [
        "| recipe | what | way | sequences/s | of the rate of matrix products | "
        "÷ PyTorch float32 | ÷ PyTorch's best | peak memory, MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        records = harness.simulate_records(Path(folder), 50_000)
        for name in options.recipes.split(","):
            for work in ("train", "predict"):
                lines += compare(name, work, str(records), options.repeats, options.checkout)
    torch_version = "no PyTorch"
    if importlib.util.find_spec("torch"):
        torch_version = f"PyTorch {importlib.metadata.version('torch')}"
    intro = (
        f"{harness.machine()}, {torch_version}; medians of {options.repeats} turns of {SECONDS} s "
        f"or more. Batches of {BATCH} in training, 1,024 in our prediction. The rate of matrix "
        f"products is TensorFlow's with {SIDE} rows and columns in that precision."
    )
    harness.save("Training and prediction", f"{intro}\n\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
