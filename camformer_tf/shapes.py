"""The sizes of a recipe's network by arithmetic, without building it."""

from __future__ import annotations

import dataclasses
import math

from camformer_tf import errors, recipe

CHANNELS = {  # of each encoding; `data.sequence` says what they are
    "onehot": 4,
    "onehot_n": 4,
    "onehot_purine": 5,
    "onehot_integer": 5,
    "onehot_integer_purine": 6,
}


@dataclasses.dataclass(frozen=True)
class LayerSize:
    """A convolution or dense layer: positions × inputs × outputs multiplications a sequence.

    Attributes:
        positions: the number of positions that it computes; 1 of a dense layer.
        inputs: the number of values that go into one output: kernel × channels, or a width.
        outputs: the number of filters or units.
        pooled_positions: their number after pooling; None without it.
        is_convolution: whether a normalisation follows.
    """

    positions: int
    inputs: int
    outputs: int
    pooled_positions: int | None = None
    is_convolution: bool = False


def input_shape(settings: recipe.Recipe) -> tuple[int, int]:
    """Returns the length L and the channels C that the first convolution reads, after flanks."""
    flanks = settings.tricks.flanks
    added_letters = len(flanks.add_left) + len(flanks.add_right)
    length = settings.data.length - flanks.cut_left - flanks.cut_right + added_letters
    return length, CHANNELS[settings.data.encoding]


def layer_sizes(config: recipe.ModelConfig, length: int, channels: int) -> list[LayerSize]:
    """Returns the sizes of all layers with weights, in order.

    Raises:
        errors.UserError: layers that do not go together.
    """
    lengths = block_lengths(config, length)
    check_pairs(config, lengths)
    sizes = []
    for block, next_length in zip(config.blocks, lengths, strict=True):
        positions = length
        if config.padding != "same":
            positions = length + 2 * config.padding - block.kernel + 1
        sizes.append(
            LayerSize(
                positions,
                block.kernel * channels,
                block.filters,
                next_length if block.pool else None,
                is_convolution=True,
            )
        )
        length, channels = next_length, block.filters
    width = length * channels
    for units in (*config.dense, 1):
        sizes.append(LayerSize(1, width, units))
        width = units
    return sizes


def block_lengths(config: recipe.ModelConfig, length: int) -> list[int]:
    """Returns the number of positions after each block.

    Raises:
        errors.UserError: a convolution or pooling is wider than what is left of the sequence.
    """
    lengths = []
    for i, block in enumerate(config.blocks):
        if config.padding != "same":
            length = length + 2 * config.padding - block.kernel + 1
        if block.pool:
            length = (length - block.pool.size) // block.pool.stride + 1
        if length < 1:
            raise errors.UserError(
                f"model.blocks.{i}: nothing is left of the sequence after kernel {block.kernel}"
                + (f" and pool size {block.pool.size}" if block.pool else "")
                + ". Pad more, pool less or use fewer blocks."
            )
        lengths.append(length)
    return lengths


def check_pairs(config: recipe.ModelConfig, lengths: list[int]) -> None:
    """Raises UserError unless residual blocks pair up; `lengths` are those after each block."""
    if not config.blocks:
        raise errors.UserError("model.blocks: at least one block is needed.")
    if not config.residual:
        return
    if len(config.blocks) % 2:
        raise errors.UserError(
            f"model.blocks: residual blocks come in pairs, found {len(config.blocks)}. "
            "Add or remove one, or set model.residual to false."
        )
    for i in range(1, len(config.blocks), 2):
        first, second = config.blocks[i - 1], config.blocks[i]
        if (first.filters, lengths[i - 1]) != (second.filters, lengths[i]):
            raise errors.UserError(
                f"model.blocks.{i}: the second block of a residual pair must keep the first's "
                f"{first.filters} filters and {lengths[i - 1]} positions, found {second.filters} "
                f"and {lengths[i]}. Pool in the first block of the pair (even index)."
            )


def parameters(config: recipe.ModelConfig, length: int, channels: int) -> int:
    """Returns the number of trainable parameters of the network.

    Raises:
        errors.UserError: layers that do not go together.
    """
    # A normalisation has a scale and an offset for each filter, besides the convolution's bias.
    return sum(
        (size.inputs + (3 if size.is_convolution else 1)) * size.outputs
        for size in layer_sizes(config, length, channels)
    )


def flop(config: recipe.ModelConfig, length: int, channels: int) -> int:
    """Returns the floating-point operations of one sequence forward, 2 for each multiply-add.

    Those of convolutions and dense layers are counted: 2 × positions × kernel × channels × filters
    and 2 × inputs × units. Biases, normalisation and activations are less than 1 %.
    """
    return sum(
        2 * math.prod((size.positions, size.inputs, size.outputs))
        for size in layer_sizes(config, length, channels)
    )
