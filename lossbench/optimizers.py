"""Optimizers and learning-rate schedules by the names that a config gives them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from lossbench.config import RunConfig
from lossbench.registry import Registry

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)


def _uncompiled(kind: type[Kind]) -> type[Kind]:
    """The optimizer itself, without the guards against torch.compile around its methods.

    At the first call these load the whole compiler, which takes two seconds of every process that trains, only to say
    that nothing is to be compiled here.
    """
    guarded = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in guarded}
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return cast("type[Kind]", type(kind.__name__, (kind,), methods))


Adam = _uncompiled(torch.optim.Adam)
SGD = _uncompiled(torch.optim.SGD)
Adadelta = _uncompiled(torch.optim.Adadelta)


OPTIMIZERS: Registry[Callable[..., torch.optim.Optimizer]] = Registry(
    "optimizer",
    {
        "adam": partial(Adam, fused=True),
        "sgd": partial(SGD, momentum=0.9, nesterov=True, fused=True),
        "adadelta": Adadelta,
    },
)


def build_optimizer(model: nn.Module, criterion: nn.Module, config: RunConfig) -> torch.optim.Optimizer:
    """The optimizer that the config names, over the model's and the loss's own parameters that are not frozen."""
    kernels = {id(layer.weight) for layer in model.modules() if isinstance(layer, nn.Conv2d)}
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in (*model.parameters(), *criterion.parameters()):
        if parameter.requires_grad:
            decays = config.weight_decay_on == "all" or id(parameter) in kernels
            (decayed if decays else others).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    return OPTIMIZERS[config.optimizer](groups, lr=config.lr)


def build_scheduler(optimizer: torch.optim.Optimizer, config: RunConfig) -> LambdaLR:
    """How the learning rate goes from epoch to epoch, as a factor of `config.lr`."""

    def factor(epoch: int) -> float:
        done = epoch / config.epochs
        if config.scheduler == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        if config.scheduler == "step":
            return 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01
        return 1.0

    return LambdaLR(optimizer, factor)
