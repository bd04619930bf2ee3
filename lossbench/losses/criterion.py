"""`Criterion`: any loss on any probability function, as a drop-in for nn.CrossEntropyLoss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lossbench.losses.catalogue import LOSSES, SCHEDULE, TENSORS, Context, LossState
from lossbench.losses.classification import widen
from lossbench.losses.probabilities import PROBABILITIES
from lossbench.registry import at_least, parse_loss, unknown, whole

# Checks of what a criterion is called with.
#
# Shapes and dtypes are always checked. Values are read only on the CPU and outside torch.compile and vmap: elsewhere
# a look at them would wait for the device in every step, or cannot be had.


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
    if inputs.dim() != 2:
        what = "(batch, classes) or (batch, classes, d1, ...)" if takes == "logits" else "(batch, dim)"
        raise ValueError(f"{name}: {takes} must have shape {what}, got {tuple(inputs.shape)}")
    if takes == "logits" and inputs.shape[1] < 2:
        raise ValueError(f"{name}: logits must have at least 2 classes, got shape {tuple(inputs.shape)}")
    if columns is not None and inputs.shape[1] != columns:
        raise ValueError(f"{name}: {takes} must have {columns} columns, got shape {tuple(inputs.shape)}")


def check_weight(context: Context, weight: Tensor | str | None, *, takes: str) -> Tensor | None:
    """Class weights: (classes,) floats, none negative, or their name, and only for losses on logits."""
    name, classes = context.loss, context.num_classes
    if weight is None:
        return None
    if takes == "embeddings":
        raise ValueError(f"{name}: weight is for losses on logits; a loss on embeddings compares samples")
    if isinstance(weight, str):
        return class_weights(weight, context)
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        names = " or ".join(repr(allowed) for allowed in CLASS_WEIGHTS)
        raise TypeError(f"{name}: weight must be a floating-point tensor, or {names}, got {_kind(weight)}")
    if weight.dim() != 1 or (classes is not None and len(weight) != classes):
        raise ValueError(f"{name}: weight must have shape ({classes or 'classes'},), got {tuple(weight.shape)}")
    if not (weight >= 0).all() or not weight.isfinite().all():
        raise ValueError(f"{name}: weight must be finite and not negative, got {weight.tolist()}")
    return weight


CLASS_WEIGHTS = ("inverse", "class_balanced")
BETA = 0.999  # of class_balanced: a class's weight stops falling at about 1 / (1 - BETA) samples


def class_weights(name: str, context: Context) -> Tensor:
    r"""Weights of the classes from their counts; their mean is 1 over the classes with samples, the others get 0.

    `inverse` is 1/n; `class_balanced` is :math:`(1 - \beta) / (1 - \beta^n)` (Cui et al. 2019, arXiv:1901.05555), which
    is nearly 1/n for n far below 1000 and nearly the same for all classes far above it.
    """
    if name not in CLASS_WEIGHTS:
        raise ValueError(f"{context.loss}: {unknown('weight', name, CLASS_WEIGHTS)}, or a tensor")
    counts = context.counts()
    weight = 1 / (counts if name == "inverse" else -torch.expm1(counts * math.log(BETA)))
    weight = torch.where(counts > 0, weight, 0.0)
    return (weight * (counts > 0).sum() / weight.sum()).float()


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


def check_target(name: str, target: Tensor, *, batch: int, classes: int | None, soft: bool, ignore: int | None) -> bool:
    """Class indices (batch,), or class probabilities (batch, classes) if `soft`.

    `classes` None: any index from 0. `ignore` None: no index is ignored.

    Returns: whether every sample counts, as far as it can be seen without waiting for a device.

    Raises:
        TypeError: neither integers nor allowed probabilities.
        ValueError: another shape, a class that does not exist, rows that are no probabilities.
    """
    if not isinstance(target, Tensor):
        raise TypeError(f"{name}: target must be a tensor, got {_kind(target)}")
    if target.is_floating_point():
        _check_probabilities(name, target, batch=batch, classes=classes, soft=soft, ignore=ignore)
        return True
    if target.dtype == torch.bool or target.is_complex():
        raise TypeError(f"{name}: target must hold class indices (int64), got {_kind(target)}")
    if tuple(target.shape) != (batch,):
        raise ValueError(f"{name}: target must have shape ({batch},), got {tuple(target.shape)}")
    if not _values_readable(target):
        return False
    low, high = (bound.item() for bound in target.aminmax())
    if low >= 0 and (classes is None or high < classes):
        return ignore is None or not low <= ignore <= high
    wrong = target < 0 if classes is None else (target < 0) | (target >= classes)
    if ignore is not None:
        wrong &= target != ignore
    if wrong.any():
        allowed = "0 or more" if classes is None else f"in 0..{classes - 1}"
        allowed += "" if ignore is None else f" or ignore_index={ignore}"
        raise ValueError(f"{name}: target must be {allowed}, got {target[wrong][0].item()}")
    return False


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


Reduction = Literal["none", "mean", "sum"]
REDUCTIONS = ("none", "mean", "sum")
REMEMBERED = 64  # shapes of inputs for which a loss has proven what it returns


class Criterion(nn.Module):
    """A loss by name, with class weights, ignore_index and reductions as nn.CrossEntropyLoss has them.

    >>> criterion = Criterion("focal", gamma=2.0, probability="taylor_softmax")
    >>> loss = criterion(torch.zeros(4, 10), torch.tensor([0, 1, 2, 3]))

    Call it with logits (batch, classes), or with embeddings (batch, dim) when `takes` is "embeddings", and a
    target: class indices (batch,) or, where the loss allows, class probabilities (batch, classes). As in torch, logits
    (batch, classes, d1, ...) go with indices (batch, d1, ...) or probabilities like the logits. float16 and bfloat16
    are computed in float32 outside autocast, and the loss is float32. A probability function's margin applies in
    train() mode only. It can be pickled, copied and saved as any module.

    Args:
        name: a name in `LOSSES`, or as on the command line with parameters, "focal:gamma=2".
        probability: a name in `PROBABILITIES`; `probability_params` are its hyperparameters.
        reduction: "mean" (with class weights divided by the sum of the weights), "sum", or "none" for (batch,).
        weight: (classes,) weight of each class, "inverse" or "class_balanced" for weights from class_counts, or None.
        label_smoothing: the share of the target, in [0, 1], that all classes get alike, for any loss that takes class
            probabilities.
        ignore_index: samples with this target count neither in the loss nor in its mean.
        num_classes, embedding_dim, class_counts, class_names: what the loss may need to know of the task
            (proxies, imbalance, class tree).
        seed: of the loss's own learnable parameters; global random state is left alone.
        **loss_params: the loss's hyperparameters.

    Raises:
        ValueError: an unknown name, a value out of range, or something the loss needs to know that is missing.
        TypeError: an unknown hyperparameter, one of the wrong type, or one that is given twice.
    """

    def __init__(
        self,
        name: str,
        *,
        probability: str = "softmax",
        probability_params: dict[str, Any] | None = None,
        reduction: Reduction = "mean",
        weight: Tensor | str | None = None,
        label_smoothing: float = 0.0,
        ignore_index: int = -100,
        num_classes: int | None = None,
        embedding_dim: int | None = None,
        class_counts: Tensor | Sequence[int] | None = None,
        class_names: Sequence[str] | None = None,
        seed: int = 0,
        **loss_params: Any,
    ) -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(unknown("reduction", reduction, REDUCTIONS))
        if not isinstance(name, str) or not isinstance(probability, str):
            raise TypeError(f"a loss and its probability function are given by name, got {name!r} and {probability!r}")
        name, written = parse_loss(name)
        if twice := written.keys() & loss_params.keys():
            raise TypeError(f"{name}: {', '.join(sorted(twice))} is given twice, in the name and as an argument")
        self.entry = LOSSES[name]
        self.probability = PROBABILITIES[probability]
        self.loss_params = self.entry.complete(written | loss_params)
        self.probability_params = self.probability.complete(probability_params or {})
        self.reduction = reduction
        self.ignore_index = ignore_index
        self.label_smoothing = at_least(0.0, up_to=1.0)(f"{name}: label_smoothing", label_smoothing)
        if self.label_smoothing and self.entry.soft_target == "no":
            raise ValueError(
                f"{name}: label_smoothing={label_smoothing} needs a loss that takes class probabilities as target; "
                f"choose from {', '.join(key for key, entry in LOSSES.items() if entry.soft_target != 'no')}"
            )
        context = Context(
            loss=name,
            num_classes=num_classes,
            embedding_dim=embedding_dim,
            class_counts=None if class_counts is None else torch.as_tensor(class_counts),
            generator=torch.Generator().manual_seed(seed),
            class_names=None if class_names is None else tuple(class_names),
        )
        self.weight: Tensor | None
        self.register_buffer("weight", check_weight(context, weight, takes=self.takes))
        state = self.entry.state(self.loss_params, context) if self.entry.state else None
        self.state = LossState() if state is None else state
        self.num_classes: int | None = self.state.num_classes or num_classes
        self._proven: set[tuple[object, ...]] = set()
        for part in SCHEDULE:  # not persistent: which epoch it is, the training knows
            self.register_buffer(part, torch.full((), torch.nan), persistent=False)
        self._dated = False
        for event in self.entry.events:
            self.register_buffer(f"count_{event}", torch.zeros((), dtype=torch.int64))

    @property
    def takes(self) -> Literal["logits", "embeddings"]:
        """What the criterion is called with."""
        return self.entry.takes

    @property
    def events(self) -> dict[str, int]:
        """How often each of the loss's events has happened so far."""
        return {event: int(self.get_buffer(f"count_{event}")) for event in self.entry.events}

    def num_outputs(self, num_classes: int) -> int:
        """How many logits the model must give for this many classes."""
        return self.state.num_outputs(num_classes)

    def set_epoch(self, epoch: int, epochs: int) -> None:
        """Say at the start of each epoch which it is, from 1, and of how many; losses with a schedule need it."""
        self.get_buffer("epochs").fill_(whole(1)("set_epoch: epochs", epochs))
        self.get_buffer("epoch").fill_(whole(1, up_to=epochs)("set_epoch: epoch", epoch))
        self._dated = True

    def forward(self, inputs: Tensor, target: Tensor) -> Tensor:
        """Loss of logits (or embeddings) and target: 0-d, or (batch, ...) with reduction "none".

        Raises:
            TypeError, ValueError: naming the argument and what it got. Values of the target are read on the
                CPU only, outside torch.compile and vmap.
        """
        places: tuple[int, ...] = ()
        if isinstance(inputs, Tensor) and inputs.dim() > 2 and self.takes == "logits":
            inputs, target, places = _flatten(self.entry.name, inputs, target)
        complete = self._check_call(inputs, target)
        with _full_precision(inputs.device.type):
            inputs = widen(inputs)
            if target.is_floating_point():
                loss = self._reduce_soft(inputs, target.to(inputs.dtype))
            else:
                loss = self._reduce_hard(inputs, target.long(), complete)
        return loss.reshape(places) if places and self.reduction == "none" else loss

    def log_probs(self, logits: Tensor) -> Tensor:
        """Log-probabilities (batch, classes, ...) to predict and score with: no margin, leaves of a tree.

        Raises:
            TypeError, ValueError: logits of the wrong type or shape, or a loss on embeddings, which has none.
        """
        if self.takes == "embeddings":
            raise TypeError(f"{self.entry.name} works on embeddings: it gives no class probabilities")
        if isinstance(logits, Tensor) and logits.dim() > 2:
            rows = self.log_probs(logits.movedim(1, -1).flatten(0, -2))
            return rows.reshape(logits.shape[0], *logits.shape[2:], -1).movedim(-1, 1)
        self._check_logits(logits)
        with _full_precision(logits.device.type):
            return self.state.class_log_probs(widen(logits), self._probability)

    def __repr__(self) -> str:
        shown = {"reduction": self.reduction, **self.loss_params}
        if self.takes == "logits":
            shown |= {"probability": self.probability.name, **self.probability_params}
        if self.label_smoothing:
            shown["label_smoothing"] = self.label_smoothing
        if self.ignore_index != -100:
            shown["ignore_index"] = self.ignore_index
        settings = ", ".join([repr(self.entry.name), *(f"{name}={value!r}" for name, value in shown.items())])
        return f"Criterion({settings})"

    def _check_call(self, inputs: Tensor, target: Tensor) -> bool:
        """Whether every sample is known to count."""
        name, weight = self.entry.name, self.weight
        if self.takes == "logits":
            self._check_logits(inputs)
            classes: int | None = self.num_classes or inputs.shape[1]
        else:
            check_inputs(name, inputs, takes="embeddings", columns=None)
            classes = self.num_classes
        ignorable = self.takes == "logits" or "valid" in self.entry.tensors
        complete = check_target(
            name,
            target,
            batch=inputs.shape[0],
            classes=classes,
            soft=self.entry.soft_target != "no",
            ignore=self.ignore_index if ignorable else None,
        )
        if weight is not None and len(weight) != classes:
            raise ValueError(f"{name}: weight must have shape ({classes},), got {tuple(weight.shape)}")
        if weight is not None and target.is_floating_point() and self.entry.soft_target == "whole":
            raise ValueError(f"{name}: weight needs class indices as target, got class probabilities")
        return complete

    def _check_logits(self, logits: Tensor) -> None:
        columns = None if self.num_classes is None else self.num_outputs(self.num_classes)
        check_inputs(self.entry.name, logits, takes="logits", columns=columns)

    def _probability(self, logits: Tensor, target: Tensor | None) -> Tensor:
        result: Tensor = self.probability.function(logits, target, **self.probability_params)
        return result

    def _per_sample(self, inputs: Tensor, target: Tensor, weighted: Tensor, valid: Tensor | None) -> Tensor:
        """The loss function on what its signature asks for; `weighted`: the target times class weights."""
        state, tensors = self.state, self.entry.tensors
        plain = type(state) is LossState
        arguments = {**self.loss_params, **({} if plain else state()), "target": weighted}
        if "log_probs" in tensors:
            margin_target = target if self.training else None
            make = self._probability if plain else partial(state.training_log_probs, log_probs=self._probability)
            arguments["log_probs"] = make(inputs, margin_target)
        for name in ("logits", "embeddings"):
            if name in tensors:
                arguments[name] = inputs
        if "valid" in tensors:
            arguments["valid"] = valid
        for name in SCHEDULE:
            if name in tensors and (self._dated or name in self.entry.required):
                arguments[name] = self._when(name)
        for event, happened in self.entry.events.items():
            if not _is_transformed():  # inside vmap or grad there is no one batch to count
                self.get_buffer(f"count_{event}").add_(happened(inputs.detach(), target))
        return self._call(arguments, inputs)

    def _when(self, name: str) -> Tensor:
        if not self._dated:
            raise ValueError(
                f"{self.entry.name} follows the epochs: call criterion.set_epoch(epoch, epochs) at the start of each"
            )
        return self.get_buffer(name)

    def _call(self, arguments: dict[str, Any], inputs: Tensor) -> Tensor:
        """The loss of each sample: (batch,), which is proven once for inputs of each shape, not in every step."""
        slopes = inputs.requires_grad and torch.is_grad_enabled()
        case = (inputs.shape, arguments["target"].dim(), slopes)
        loss: Tensor
        if torch.compiler.is_compiling() or case in self._proven or _is_transformed():
            loss = self.entry.function(**arguments)
            return loss
        tensors = {name: value for name, value in arguments.items() if name in TENSORS and isinstance(value, Tensor)}
        before = {name: value._version for name, value in tensors.items() if not value.is_inference()}
        loss = self.entry.function(**arguments)
        changed = [name for name, version in before.items() if tensors[name]._version != version]
        check_returned(self.entry.name, loss, len(inputs), slopes=slopes, changed=changed)
        if len(self._proven) >= REMEMBERED:
            self._proven.clear()
        self._proven.add(case)
        return loss

    def _reduce_hard(self, inputs: Tensor, target: Tensor, complete: bool) -> Tensor:
        if complete and self.weight is None and not self.label_smoothing and "valid" not in self.entry.tensors:
            return _reduce(self._per_sample(inputs, target, target, None), self.reduction)
        valid = target != self.ignore_index
        target = torch.where(valid, target, 0)
        weight = valid.to(inputs.dtype)
        if self.weight is not None:
            weight = weight * self.weight.to(inputs.dtype)[target]
        if self.label_smoothing:
            loss, weighted = self._per_smoothed(inputs, target, valid)
        else:
            loss, weighted = self._per_sample(inputs, target, target, valid), False
        loss = torch.where(valid, loss, 0)
        if self.weight is not None and not weighted:
            loss = loss * weight
        if self.reduction == "none":
            return loss
        return loss.sum() / weight.sum() if self.reduction == "mean" else loss.sum()

    def _per_smoothed(self, inputs: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, bool]:
        """The loss of each sample on its smoothed class, and whether class weights are in it, as in torch, already."""
        classes = self.num_classes or inputs.shape[1]
        index = target[:, None]
        smoothed = inputs.new_full((len(inputs), classes), self.label_smoothing / classes)
        smoothed = smoothed.scatter_add(1, index, torch.full_like(index, 1 - self.label_smoothing, dtype=inputs.dtype))
        by_class = self.weight is not None and self.entry.soft_target == "by_class"
        return self._per_sample(inputs, smoothed, self._weigh(smoothed) if by_class else smoothed, valid), by_class

    def _reduce_soft(self, inputs: Tensor, target: Tensor) -> Tensor:
        if self.label_smoothing:
            target = (1 - self.label_smoothing) * target + self.label_smoothing / target.shape[1]
        return _reduce(self._per_sample(inputs, target, self._weigh(target), None), self.reduction)

    def _weigh(self, target: Tensor) -> Tensor:
        return target if self.weight is None else target * self.weight.to(target.dtype)


def _reduce(loss: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "none":
        return loss
    return loss.mean() if reduction == "mean" else loss.sum()


def _flatten(name: str, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Logits (batch, classes, d1, ...) and their target with a row for each place, and the shape of places."""
    places = (logits.shape[0], *logits.shape[2:])
    rows = logits.movedim(1, -1).reshape(-1, logits.shape[1])
    if not isinstance(target, Tensor):
        raise TypeError(f"{name}: target must be a tensor, got {_kind(target)}")
    probabilities = target.is_floating_point()
    if tuple(target.shape) != (tuple(logits.shape) if probabilities else places):
        kind, shape = ("class probabilities", tuple(logits.shape)) if probabilities else ("class indices", places)
        raise ValueError(
            f"{name}: for logits {tuple(logits.shape)} a target of {kind} must have shape {shape}, got "
            f"{tuple(target.shape)}"
        )
    flat = target.movedim(1, -1).reshape(-1, target.shape[1]) if probabilities else target.reshape(-1)
    return rows, flat, places


def _is_transformed() -> bool:
    """Whether this is inside torch.func.vmap, grad and so on."""
    return not torch.compiler.is_compiling() and torch._C._functorch.maybe_current_level() is not None


def _full_precision(device: str) -> AbstractContextManager[object]:
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)
