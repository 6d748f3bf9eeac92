"""The first two convolutions as rows of a table, added up.

Where the first convolution reads a k-mer, it gives one of few vectors, and what these add to an
output of the second is one of few vectors too, which can be computed beforehand. k2 F2 additions
then replace k2 F1 F2 multiplications, which are two thirds of all that Mini does.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from camformer_tf import recipe
from camformer_tf.data import sequence

_BLANK = len(sequence.ALPHABET)  # the symbol for a position beyond the ends, where zeros are read
_SYMBOLS = _BLANK + 1
_LARGEST = 64 << 20  # bytes of a table; Mini's 5-mers take 46 MiB
_FEWEST_FILTERS = 128  # of the first convolution; with less than about 80 nothing is gained


class Lookup:
    """A folded network in two parts: the table, and the remaining layers.

    Attributes:
        tail: the network from its input and the outputs of the second convolution on.
    """

    def __init__(self, network: keras.Model, settings: recipe.Recipe) -> None:
        """Splits a network.

        Args:
            network: float32, folded, of the recipe.
            settings: the recipe.
        """
        self._network, self._length = network, settings.data.length
        self._widths = [block.kernel for block in settings.model.blocks[:2]]
        self._padding = [_padding(settings.model.padding, width) for width in self._widths]
        rows = sequence.table(settings.data.encoding)[list(sequence.ALPHABET.encode())]  # (5, C)
        self._channels = np.pad(rows, [(0, 1), (0, 0)])  # (symbols, C)
        self.tail = keras.Model([network.input, network.get_layer("conv_2").output], network.output)

    def table(self, values: Sequence[tf.Tensor] | None = None) -> tf.Tensor:
        """Returns what each k-mer adds by each position of the second kernel.

        Args:
            values: of the network's variables, in order; its own by default.

        Returns:
            Rows, float32 (k-mers k2, F2). Those of the first position contain the bias.
        """
        layers = [self._network.get_layer(name) for name in ("conv_1", "conv_2")]
        weights = [weight for layer in layers for weight in layer.weights]
        kernel, bias, second_kernel, second_bias = self._select(weights, values)
        second_width, filters, second_filters = second_kernel.shape
        kmers = bias[None]  # (1, F1): the sum over the letters so far, for each k-mer of them
        for position in range(kernel.shape[0]):
            letter = tf.matmul(self._channels, kernel[position])  # (symbols, F1)
            kmers = tf.reshape(kmers[:, None] + letter, [-1, filters])  # (k-mers symbols, F1)
        kmers = tf.pad(tf.nn.relu(kmers), [[0, 1], [0, 0]])  # and zeros beyond the ends
        by_position = tf.reshape(tf.transpose(second_kernel, [1, 0, 2]), [filters, -1])
        rows = tf.reshape(tf.matmul(kmers, by_position), [-1, second_width, second_filters])
        rows += tf.pad(second_bias[None], [[0, second_width - 1], [0, 0]])  # (k-mers, k2, F2)
        return tf.reshape(rows, [-1, second_filters])

    def outputs(self, table: tf.Tensor, letters: tf.Tensor) -> tf.Tensor:
        """Returns the second convolution's outputs, float32 (N, L2, F2).

        Args:
            table: what `table` returned.
            letters: uint8 (N, L).
        """
        width, second_width = self._widths
        symbols = tf.gather(tf.constant(_symbols()), tf.cast(letters, tf.int32))  # (N, L)
        symbols = tf.pad(symbols, [[0, 0], self._padding[0]], constant_values=_BLANK)
        length = self._length + sum(self._padding[0]) - width + 1
        kmers = 0  # (N, L1): the number of the k-mer at each position of the first convolution
        for i in range(width):
            kmers = kmers * _SYMBOLS + symbols[:, i : i + length]
        kmers = tf.pad(kmers, [[0, 0], self._padding[1]], constant_values=_SYMBOLS**width)
        length += sum(self._padding[1]) - second_width + 1
        total = tf.gather(table, kmers[:, :length] * second_width)  # (N, L2, F2)
        for i in range(1, second_width):
            with tf.control_dependencies([total]):  # one after another, since they are large
                total += tf.gather(table, kmers[:, i : i + length] * second_width + i)
        return tf.nn.relu(total)

    def tail_values(self, values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns those of the values of the network's variables that `tail` has, in its order."""
        return self._select(self.tail.variables, values)

    def _select(
        self, variables: Sequence[keras.Variable], values: Sequence[tf.Tensor] | None
    ) -> list[tf.Tensor]:
        """Returns the values of some variables; without `values`, what the variables hold."""
        if values is None:
            return [tf.convert_to_tensor(variable) for variable in variables]
        pairs = zip(self._network.variables, values, strict=True)
        by_variable = {id(variable): value for variable, value in pairs}
        return [by_variable[id(variable)] for variable in variables]


def split(network: keras.Model, settings: recipe.Recipe) -> Lookup | None:
    """Returns the two parts of a folded network of a recipe; None where the whole is faster.

    That is so where there are too many k-mers or too few filters, or where anything but padding
    comes before the second convolution.
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
    """Returns the zeros that a convolution reads on the left and on the right."""
    left = (width - 1) // 2
    return [left, width - 1 - left] if isinstance(padding, str) else [padding, padding]
