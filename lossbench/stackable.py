"""A copy of a model that `torch.func.vmap` can run for many sets of weights at once, as each set would run alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def stackable(model: nn.Module) -> nn.Module:
    """Copy a model without its weights, with stand-ins for the layers that vmap treats otherwise or slowly."""
    copied = copy.deepcopy(model).to("meta")  # a weight that is not handed over shows as an error
    for layer in copied.modules():
        # The layers stay the objects that they are: the model may keep some of them in evaluation mode.
        layer.__class__ = _STAND_INS.get(type(layer), type(layer))
    return copied


class _Outside(torch.autograd.Function):
    """Leaves vmap for a moment; subclasses say what is done there, on inputs (members, batch, ...)."""

    @staticmethod
    def forward(*arguments: Any) -> Any:
        raise NotImplementedError("dropout or pooling before any layer with weights")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        raise NotImplementedError


class _OneMask(_Outside):
    """Dropout with one mask for all members, drawn as a model alone draws it: vmap would draw other numbers."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], inputs: Tensor, probability: float) -> tuple[Tensor, int]:
        inputs = inputs.movedim(in_dims[0], 0)
        # The mask is drawn in the order of memory, which is channels_last for maps.
        layout = torch.channels_last if inputs.dim() == 5 else torch.contiguous_format
        ones = torch.empty(inputs.shape[1:], dtype=inputs.dtype, device=inputs.device, memory_format=layout).fill_(1)
        return inputs * F.dropout(ones, probability), 0


class _ByChannel(_Outside):
    """A layer that treats every channel by itself sees the members as more channels, without a copy in memory."""

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], maps: Tensor, call: Callable[..., Tensor], *weights: Tensor
    ) -> tuple[Tensor, int]:
        folded = maps.movedim(in_dims[0], 1).flatten(1, 2)
        # Running statistics are updated in place: flattened, they are still the stacked ones.
        result = call(folded, *(weight.flatten() for weight in weights))
        return torch.unflatten(result, 1, (info.batch_size, -1)), 1


class _Dropout(nn.Dropout):
    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return inputs
        dropped: Tensor = _OneMask.apply(inputs, self.p)
        return dropped


class _MaxPool(nn.MaxPool2d):
    def forward(self, maps: Tensor) -> Tensor:
        pooled: Tensor = _ByChannel.apply(maps, super().forward)
        return pooled


class _AveragePool(nn.AdaptiveAvgPool2d):
    def forward(self, maps: Tensor) -> Tensor:
        pooled: Tensor = _ByChannel.apply(maps, super().forward)
        return pooled


class _BatchNorm(nn.BatchNorm2d):
    def forward(self, maps: Tensor) -> Tensor:
        if self.momentum is None or self.weight is None or self.num_batches_tracked is None:
            return super().forward(maps)
        if self.training:
            self.num_batches_tracked.add_(1)

        def call(folded: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
            return F.batch_norm(folded, mean, variance, weight, bias, self.training, self.momentum or 0.0, self.eps)

        weights = (self.weight, self.bias, self.running_mean, self.running_var)
        normal: Tensor = _ByChannel.apply(maps, call, *weights)
        return normal


_STAND_INS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Dropout: _Dropout,
    nn.MaxPool2d: _MaxPool,
    nn.AdaptiveAvgPool2d: _AveragePool,
    nn.BatchNorm2d: _BatchNorm,
}
