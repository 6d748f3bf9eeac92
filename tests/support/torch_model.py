"""The network in PyTorch, written from its description, as a reference for the one in Keras.

Source of the description: script:188-349, FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69 and
base/model.py, Bornelov-lab/Camformer@feaa529 (residual); base_camformer.py:44-65,
gautammalik-git/Camformer@5c5eb0b (plain). The names in the state dict are those of the originals.
"""

from __future__ import annotations

import itertools

import torch
from torch import nn

from camformer_tf import recipe


class SameConv(nn.Module):
    """A convolution over positions that keeps their number; of an odd total, one zero more goes
    to the end."""

    def __init__(self, channels: int, block: recipe.BlockConfig):
        super().__init__()
        left = (block.kernel - 1) // 2
        self.pad = nn.ZeroPad2d((0, 0, left, block.kernel - 1 - left))
        self.conv = nn.Conv2d(channels, block.filters, (block.kernel, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.pad(x))


class Camformer(nn.Module):
    """one-hot (N, C, L, 1) → expression (N,)."""

    def __init__(self, config: recipe.ModelConfig, *, length: int = 110, channels: int = 4):
        super().__init__()
        self.residual = config.residual
        self.CNN_layers = nn.ModuleList()
        for block in config.blocks:
            self.CNN_layers.append(_block(channels, block, config.padding))
            channels = block.filters
        with torch.no_grad():
            width = (
                self.eval()._features(torch.zeros(1, self._first().in_channels, length, 1)).numel()
            )
        widths = [width, *config.dense, 1]
        self.linear_layers = nn.ModuleList()
        for j, (narrow, wide) in enumerate(itertools.pairwise(widths)):
            layers = [nn.ReLU(), nn.Dropout(config.dense_dropout)] if j < len(config.dense) else []
            self.linear_layers.append(nn.Sequential(nn.Linear(narrow, wide), *layers))
        self.train()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self._features(x)
        for layer in self.linear_layers:
            x = layer(x)
        return x.flatten()

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = None
        for i, block in enumerate(self.CNN_layers):
            x = block(x)
            if self.residual and i % 2:
                x = x + shortcut
            shortcut = x
        return x.flatten(1)

    def _first(self) -> nn.Conv2d:
        return next(module for module in self.modules() if isinstance(module, nn.Conv2d))


def _block(channels: int, block: recipe.BlockConfig, padding: str | int) -> nn.Sequential:
    """Convolution → batch normalisation → ReLU → pooling → dropout."""
    if padding == "same":
        convolution = SameConv(channels, block)
    else:
        convolution = nn.Conv2d(channels, block.filters, (block.kernel, 1), padding=(padding, 0))
    pool = []
    if block.pool:
        pool = [nn.MaxPool2d((block.pool.size, 1), stride=(block.pool.stride, 1))]
    return nn.Sequential(
        convolution, nn.BatchNorm2d(block.filters), nn.ReLU(), *pool, nn.Dropout(block.dropout)
    )
