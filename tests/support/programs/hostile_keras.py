"""Builds a network and prints what the settings of Keras might have changed."""

from camformer_tf import recipe
from camformer_tf.model import rescnn

network = rescnn.build(recipe.load("smoke").model)
convolution = network.get_layer("conv_1")
print(
    convolution.output.shape,
    convolution.compute_dtype,
    network.get_layer("norm_1").epsilon,
    rescnn.count_trainable(network),
)
