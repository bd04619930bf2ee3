"""A copy of a model that `torch.func.vmap` can run for many sets of weights at once, as each set would run alone."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def stackable(model: nn.Module) -> nn.Module:
    """Copy a model without its weights, and replace the layers that vmap treats otherwise than a model alone."""
    copied = copy.deepcopy(model).to("meta")  # a weight that is not handed over shows as an error
    for name, layer in list(copied.named_modules()):
        if type(layer) is nn.Dropout:
            copied.set_submodule(name, _Dropout(layer.p))
        elif type(layer) is nn.AdaptiveAvgPool2d and layer.output_size in (1, (1, 1)):
            copied.set_submodule(name, _Mean())
    return copied


class _Mean(nn.Module):
    """`AdaptiveAvgPool2d(1)` is this mean too, but changes strides in a way that vmap does member by member."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((-2, -1), keepdim=True)


class _Dropout(nn.Dropout):
    """Dropout with one mask for all members, drawn as a model alone draws it."""

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return inputs
        dropped: Tensor = _OneMask.apply(inputs, self.p)
        return dropped


class _OneMask(torch.autograd.Function):
    """Leaves vmap for a moment: inside it, dropout draws other numbers than outside."""

    @staticmethod
    def forward(inputs: Tensor, probability: float) -> Tensor:
        raise NotImplementedError("dropout before any layer with weights")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        raise NotImplementedError

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], inputs: Tensor, probability: float) -> tuple[Tensor, int]:
        inputs = inputs.movedim(in_dims[0], 0)
        # The mask is drawn in the order of memory, which is channels_last for maps.
        layout = torch.channels_last if inputs.dim() == 5 else torch.contiguous_format
        ones = torch.empty(inputs.shape[1:], dtype=inputs.dtype, device=inputs.device, memory_format=layout).fill_(1)
        return inputs * F.dropout(ones, probability), 0
