"""Trains the smoke network as one process of `support.agreement.train`.

KIND OPTIMIZER DROPOUT IN_GRAPH EPOCHS RECORDS OUT
"""

import sys
from pathlib import Path

import keras
import numpy as np

from camformer_tf import recipe
from camformer_tf.batches import dataset
from camformer_tf.data import records, sequence
from camformer_tf.model import predictors, rescnn
from camformer_tf.training import callbacks, loop, optimizers, steps, strategies

kind, name, dropout, in_graph, epochs, folder, out = sys.argv[1:]
changes = [f"model.blocks.{i}.dropout={dropout}" for i in range(4)]
if in_graph == "True":
    steps.loops_in_graph = lambda: True
    changes.append("model.blocks.2.pool=null")  # whose gradient oneDNN does not always round alike
settings = recipe.load("smoke", changes)
devices = strategies.make(kind, 2 if kind == "mirrored" else None, "float32", timeout=60)
batches = dataset.batches(
    Path(folder), batch_size=128, seed=1, worker=devices.worker, workers=devices.workers
)
validation = records.read(Path(folder), "val")
with devices.strategy.scope():
    model = rescnn.build(settings.model)
    model.optimizer = (
        keras.optimizers.SGD(0.001) if name == "sgd" else optimizers.build(settings.train)
    )
    model.optimizer.build(model.trainable_variables)
scores = callbacks.CorrelationScores(
    validation.letters,
    validation.expression,
    loss=optimizers.loss("l1"),
    predict=predictors.plain(model, "onehot"),
)
loop.train(
    model,
    batches,
    loss=optimizers.loss("l1"),
    table=sequence.table("onehot"),
    strategy=devices.strategy,
    epochs=int(epochs),
    batch_size=128,
    callbacks=[scores],
    steps_per_call={"one": 1, "mirrored": 5, "multiworker": 3}[kind],
)
variables = {
    f"{i:03d} {v.path}": keras.ops.convert_to_numpy(v)
    for i, v in enumerate(model.variables)
    if "seed" not in v.path
}
history = {
    f"history {k}": np.array(v)
    for k, v in model.history.history.items()
    if k != "sequences_per_second"
}
np.savez(f"{out}-{devices.worker}.npz", **variables, **history)
