"""The first two convolutions as rows of a table, added up.

Where the first convolution reads a k-mer, it gives one of few vectors, and what these add to an
output of the second is one of few vectors too, which can be computed beforehand. k2 F2 additions
then take the place of k2 F1 F2 multiplications, which are two thirds of all that Mini does.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from camformer_tf import recipe
from camformer_tf.data import sequence

_BEYOND = len(sequence.ALPHABET)  # the symbol for a place beyond the ends, where zeros are read
_SYMBOLS = _BEYOND + 1
_LARGEST = 64 << 20  # bytes of a table; Mini's 5-mers take 46 MiB
_FEWEST_FILTERS = 128  # of the first convolution; with less than about 80 nothing is gained


class Lookup:
    """A folded network in two parts: the table, and the rest of the network.

    Args:
        network: float32, folded, of the recipe.

    Attributes:
        rest: the network from its input and the second convolution's outputs on.
    """

    def __init__(self, network: keras.Model, settings: recipe.Recipe):
        self._network, self._length = network, settings.data.length
        self._widths = [block.kernel for block in settings.model.blocks[:2]]
        self._padding = [_padding(settings.model.padding, width) for width in self._widths]
        rows = sequence.table(settings.data.encoding)[list(sequence.ALPHABET.encode())]
        self._channels = np.pad(rows, [(0, 1), (0, 0)])  # of each symbol
        self.rest = keras.Model([network.input, network.get_layer("conv_2").output], network.output)

    def table(self, values: Sequence[tf.Tensor] | None = None) -> tf.Tensor:
        """Returns the rows, float32 (k-mers k2, F2): for each k-mer, what it adds by each place of
        the second kernel. Those of the first place have the bias in them.

        Args:
            values: of the network's variables, in order; its own by default.
        """
        layers = [self._network.get_layer(name) for name in ("conv_1", "conv_2")]
        weights = [weight for layer in layers for weight in layer.weights]
        kernel, bias, second_kernel, second_bias = self._of(weights, values)
        second_width, filters, second_filters = second_kernel.shape
        kmers = bias[None]  # what the letters so far come to
        for place in range(kernel.shape[0]):
            letter = tf.matmul(self._channels, kernel[place])
            kmers = tf.reshape(kmers[:, None] + letter, [-1, filters])
        kmers = tf.pad(tf.nn.relu(kmers), [[0, 1], [0, 0]])  # and zeros beyond the ends
        by_place = tf.reshape(tf.transpose(second_kernel, [1, 0, 2]), [filters, -1])
        rows = tf.reshape(tf.matmul(kmers, by_place), [-1, second_width, second_filters])
        rows += tf.pad(second_bias[None], [[0, second_width - 1], [0, 0]])
        return tf.reshape(rows, [-1, second_filters])

    def outputs(self, table: tf.Tensor, letters: tf.Tensor) -> tf.Tensor:
        """Returns the second convolution's outputs, float32 (N, L2, F2).

        Args:
            table: what `table` returned.
            letters: uint8 (N, L).
        """
        width, second_width = self._widths
        symbols = tf.gather(tf.constant(_symbols()), tf.cast(letters, tf.int32))
        symbols = tf.pad(symbols, [[0, 0], self._padding[0]], constant_values=_BEYOND)
        length = self._length + sum(self._padding[0]) - width + 1
        kmers = 0
        for i in range(width):
            kmers = kmers * _SYMBOLS + symbols[:, i : i + length]
        kmers = tf.pad(kmers, [[0, 0], self._padding[1]], constant_values=_SYMBOLS**width)
        length += sum(self._padding[1]) - second_width + 1
        total = tf.gather(table, kmers[:, :length] * second_width)
        for i in range(1, second_width):
            with tf.control_dependencies([total]):  # one after another, since they are large
                total += tf.gather(table, kmers[:, i : i + length] * second_width + i)
        return tf.nn.relu(total)

    def values_of_rest(self, values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns those of the network's values that the rest has, in its order."""
        return self._of(self.rest.variables, values)

    def _of(self, variables, values: Sequence[tf.Tensor] | None) -> list[tf.Tensor]:
        if values is None:
            return [tf.convert_to_tensor(variable) for variable in variables]
        known = {id(own): value for own, value in zip(self._network.variables, values, strict=True)}
        return [known[id(variable)] for variable in variables]


def of(network: keras.Model, settings: recipe.Recipe) -> Lookup | None:
    """Returns the two parts of a folded network of a recipe; None where the whole is faster, k-mers
    are too many, or more than padding comes before a convolution.
    """
    blocks = settings.model.blocks
    if len(blocks) < 2 or blocks[0].pool or settings.tricks.flanks != recipe.FlanksConfig():
        return None
    first, second = blocks[:2]
    size = (_SYMBOLS**first.kernel + 1) * second.kernel * second.filters * np.float32().nbytes
    if first.filters < _FEWEST_FILTERS or size > _LARGEST:
        return None
    return Lookup(network, settings)


def _symbols() -> np.ndarray:
    """Returns the symbol of every byte, int32 (256,), as `sequence.table` reads them."""
    symbols = np.full(256, sequence.ALPHABET.index("N"), np.int32)
    for i, letter in enumerate(sequence.ALPHABET):
        symbols[[ord(letter), ord(letter.lower())]] = i
    return symbols


def _padding(padding: str | int, width: int) -> list[int]:
    before = (width - 1) // 2
    return [before, width - 1 - before] if padding == "same" else [padding, padding]
