"""How fast this machine multiplies matrices, by which times are estimated."""

from __future__ import annotations

import time

SIDES = {"GPU": 8192, "CPU": 2048}  # of the square matrices that are multiplied


def rates(seconds: float = 0.5) -> dict[str, float]:
    """Returns device and dtype, such as "float32 on CPU:0" → GFLOP/s of the first device.

    Args:
        seconds: how long to multiply for each dtype.

    Raises:
        errors.UserError: TensorFlow cannot be used.
    """
    from camformer_tf import backend

    backend.require_tensorflow()
    import tensorflow as tf  # here, since most users of this module's callers need no TensorFlow

    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    dtypes = ("float32", "bfloat16", *(("float16",) if kind == "GPU" else ()))
    return {
        f"{dtype} on {kind}:0": multiplication_rate(dtype, f"{kind}:0", SIDES[kind], seconds)
        for dtype in dtypes
    }


def multiplication_rate(dtype: str, device: str, side: int, seconds: float = 1.0) -> float:
    """Returns the GFLOP/s at which square matrices are multiplied, 2 side^3 each time.

    Args:
        dtype: of the matrices.
        device: such as "CPU:0".
        side: their number of rows.
        seconds: how long to multiply.
    """
    import tensorflow as tf

    with tf.device(device):
        matrix = tf.cast(tf.random.stateless_uniform((side, side), (1, 2)), dtype)
        multiply = tf.function(lambda a: tf.reduce_sum(tf.matmul(a, a)))
        float(multiply(matrix))  # the trace
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            float(multiply(matrix))
            count += 1
        return count * 2 * side**3 / (time.perf_counter() - start) / 1e9
