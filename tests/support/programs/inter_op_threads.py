"""Prints how many operations TensorFlow runs at once after a strategy is made: PRECISION."""

import sys

import tensorflow as tf

from camformer_tf.training import strategies

strategies.make("one", precision=sys.argv[1])
print(tf.config.threading.get_inter_op_parallelism_threads())
