"""Every loss as a function, as `torch.nn.functional` has some: `lossbench.functional.focal(logits, target, gamma=2.0)`.

A function takes what `Criterion` is called with, then by keyword what it is built with, and gives the same value. A
loss with parameters that are learned has none: they need a place to live in.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from lossbench.losses.catalogue import LOSSES
from lossbench.losses.criterion import Criterion
from lossbench.registry import unknown

_BUILT: dict[str, Criterion] = {}
_PLAIN = (str, int, float, bool, type(None))
REMEMBERED = 64  # criteria


def __getattr__(name: str) -> Callable[..., Tensor]:
    if name.startswith("_") or name not in LOSSES:
        raise AttributeError(unknown("loss", name, LOSSES))
    return _function_of(name)


def __dir__() -> list[str]:
    return list(LOSSES)


@cache
def _function_of(name: str) -> Callable[..., Tensor]:
    def loss(inputs: Tensor, target: Tensor, *, training: bool = True, **options: Any) -> Tensor:
        criterion = _find(name, inputs, options).train(training)
        result: Tensor = criterion(inputs, target)
        return result

    loss.__name__ = loss.__qualname__ = name
    loss.__doc__ = LOSSES[name].function.__doc__
    return loss


def _find(name: str, inputs: Tensor, options: dict[str, Any]) -> Criterion:
    """The criterion of these options, built once where they are plain values and nothing is drawn."""
    plain = LOSSES[name].takes == "logits" and all(isinstance(value, _PLAIN) for value in options.values())
    device = inputs.device if isinstance(inputs, Tensor) else torch.device("cpu")
    key = repr((name, device, sorted(options.items())))
    if plain and key in _BUILT and _BUILT[key].entry is LOSSES[name]:
        return _BUILT[key]
    criterion = Criterion(name, **options).to(device)
    if any(True for _ in criterion.parameters()):
        raise TypeError(
            f"{name} learns parameters of its own, which a function cannot keep: build Criterion({name!r}, ...) and "
            "give its parameters to the optimizer"
        )
    if plain:
        if len(_BUILT) >= REMEMBERED:
            _BUILT.clear()
        _BUILT[key] = criterion
    return criterion
