"""Checks of what a criterion is called with.

Shapes and dtypes are always checked. Values are read only on the CPU and outside torch.compile and vmap:
elsewhere a look at them would wait for the device in every step, or cannot be had.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class BadLoss(TypeError):
    """A loss function that does not do what every loss must; the message says what to change."""


def check_inputs(name: str, inputs: Tensor, *, columns: int | None, takes: str) -> None:
    """Logits or embeddings: floating, (batch, columns); logits need two classes or more.

    Raises:
        TypeError: not a floating tensor.
        ValueError: another shape.
    """
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
        raise TypeError(f"{name}: {takes} must be a floating-point tensor, got {_kind(inputs)}")
    what = "(batch, classes)" if takes == "logits" else "(batch, dim)"
    if inputs.dim() != 2:
        raise ValueError(f"{name}: {takes} must have shape {what}, got {tuple(inputs.shape)}")
    if takes == "logits" and inputs.shape[1] < 2:
        raise ValueError(f"{name}: logits must have at least 2 classes, got shape {tuple(inputs.shape)}")
    if columns is not None and inputs.shape[1] != columns:
        raise ValueError(f"{name}: {takes} must have {columns} columns, got shape {tuple(inputs.shape)}")


def check_weight(name: str, weight: Tensor | None, classes: int | None, *, takes: str) -> Tensor | None:
    """Class weights: (classes,) floats, none negative, and only for losses on logits."""
    if weight is None:
        return None
    if takes == "embeddings":
        raise ValueError(f"{name}: weight is for losses on logits; a loss on embeddings compares samples")
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        raise TypeError(f"{name}: weight must be a floating-point tensor, got {_kind(weight)}")
    if weight.dim() != 1 or (classes is not None and len(weight) != classes):
        raise ValueError(f"{name}: weight must have shape ({classes or 'classes'},), got {tuple(weight.shape)}")
    if not (weight >= 0).all() or not weight.isfinite().all():
        raise ValueError(f"{name}: weight must be finite and not negative, got {weight.tolist()}")
    return weight


def check_returned(name: str, loss: object, batch: int, *, slopes: bool, changed: Sequence[str]) -> None:
    """What a loss function gives back: a floating loss of each sample, with a gradient where the inputs have one.

    Raises:
        BadLoss: something else, or arguments `changed` in place.
    """
    hint = ""
    if not isinstance(loss, Tensor):
        hint = "end the function with `return`" if loss is None else "return one tensor"
    elif not loss.is_floating_point():
        hint = "a comparison or argmax has no gradient"
    elif loss.dim() == 0:
        hint = "leave the mean to Criterion's reduction"
    elif tuple(loss.shape) != (batch,):
        hint = "take the last axis away with .squeeze(1)" if tuple(loss.shape) == (batch, 1) else ""
        hint = hint or "add up what belongs to one sample, such as with .sum(1)"
    if hint:
        expected = f"must return a loss for each sample, a tensor of shape ({batch},)"
        raise BadLoss(f"{name} {expected}, not {'None' if loss is None else _kind(loss)}: {hint}")
    if changed:
        raise BadLoss(f"{name} changes its {' and '.join(changed)} in place; work on a copy, such as with .clone()")
    if slopes and isinstance(loss, Tensor) and not loss.requires_grad:
        raise BadLoss(
            f"{name} has no gradient: what it returns does not depend on its inputs in a way that can be "
            "differentiated (detach, .item(), numpy, a comparison and argmax cut the path)"
        )


def check_target(name: str, target: Tensor, *, batch: int, classes: int | None, soft: bool, ignore: int | None) -> None:
    """Class indices (batch,), or class probabilities (batch, classes) if `soft`.

    `classes` None: any index from 0. `ignore` None: no index is ignored.

    Raises:
        TypeError: neither integers nor allowed probabilities.
        ValueError: another shape, a class that does not exist, rows that are no probabilities.
    """
    if not isinstance(target, Tensor):
        raise TypeError(f"{name}: target must be a tensor, got {_kind(target)}")
    if target.is_floating_point():
        _check_probabilities(name, target, batch=batch, classes=classes, soft=soft, ignore=ignore)
        return
    if target.dtype == torch.bool or target.is_complex():
        raise TypeError(f"{name}: target must hold class indices (int64), got {_kind(target)}")
    if tuple(target.shape) != (batch,):
        raise ValueError(f"{name}: target must have shape ({batch},), got {tuple(target.shape)}")
    if not _values_readable(target):
        return
    wrong = target < 0 if classes is None else (target < 0) | (target >= classes)
    if ignore is not None:
        wrong &= target != ignore
    if wrong.any():
        allowed = "0 or more" if classes is None else f"in 0..{classes - 1}"
        allowed += "" if ignore is None else f" or ignore_index={ignore}"
        raise ValueError(f"{name}: target must be {allowed}, got {target[wrong][0].item()}")


def _check_probabilities(
    name: str, target: Tensor, *, batch: int, classes: int | None, soft: bool, ignore: int | None
) -> None:
    if not soft:
        raise TypeError(
            f"{name}: target must be class indices (batch,), got {_kind(target)}: "
            f"the formula of {name} does not say what class probabilities as target would mean"
        )
    if classes is None or tuple(target.shape) != (batch, classes):
        raise ValueError(
            f"{name}: target of class probabilities must have shape ({batch}, {classes}), got {tuple(target.shape)}"
        )
    if ignore is not None and ignore >= 0:
        raise ValueError(f"{name}: ignore_index={ignore} needs class indices as target, got {_kind(target)}")
    if not _values_readable(target):
        return
    lowest, sums = target.min().item(), target.sum(1, dtype=torch.float64)
    if not lowest >= 0:
        raise ValueError(f"{name}: target of class probabilities must not be negative or nan, got {lowest:g}")
    furthest = sums[(sums - 1).abs().argmax()].item()
    if abs(furthest - 1) > 1e-2:  # leaves room for half precision
        raise ValueError(f"{name}: target rows of class probabilities must sum to 1, got a row of {furthest:g}")


def _values_readable(tensor: Tensor) -> bool:
    if tensor.device.type != "cpu" or tensor.numel() == 0 or torch.compiler.is_compiling():
        return False
    return not torch._C._functorch.is_batchedtensor(tensor)


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return type(value).__name__
