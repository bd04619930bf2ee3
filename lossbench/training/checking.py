"""`lossbench check`: what the functions of a user's file do wrong, found in seconds and before any training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import getsource
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd import gradcheck

from lossbench.config import RunConfig
from lossbench.data.dataset import require_enough_images
from lossbench.data.loading import load
from lossbench.losses import LOSSES, Criterion
from lossbench.losses.probabilities import PROBABILITIES
from lossbench.models import MODELS
from lossbench.registry import extend, registered_by
from lossbench.stats.metrics import try_metrics

CLASSES, WIDTH, BATCH = 5, 8, 12
EXTREME = 1e4
SLOW = 10.0  # times the time of cross-entropy
BACKWARD = "give each operation its gradient, or leave torch's own functions to do it"


@dataclass(frozen=True)
class Finding:
    """One line: whether it is wrong, or only good to know."""

    wrong: bool
    text: str


Findings = Iterator[Finding]


def check_file(path: str | Path) -> Iterator[tuple[str, list[Finding]]]:
    """What a file registers, such as `loss mine`, each with what was found; errors are those of `extend`."""
    extend(path)
    for kind, name in registered_by(path):
        check = _CHECKS.get(kind)
        if check is None:
            yield f"{kind} {name}", [Finding(False, "registered; nothing is known that could be tried")]
            continue
        try:
            findings = list(check(name))
        except Exception as error:  # whatever a function of the user's raises
            text = next(iter(str(error).splitlines()), "")
            known = isinstance(error, ValueError | TypeError) and name in text
            findings = [Finding(True, text if known else f"raises {type(error).__name__}: {text}")]
        yield f"{kind} {name}", findings


def check_loss(name: str) -> Findings:
    """A registered loss: its shape, its gradient, extreme logits, what it means."""
    criterion = _criterion(name)
    inputs, target = _problem(criterion)
    loss = criterion(inputs * 1, target)  # refuses another shape, no gradient, a change in place
    if not loss.isfinite().all():
        yield Finding(True, "is not finite for ordinary inputs: " + _finite_hint(name))
        return
    if not torch.equal(loss, criterion(inputs, target)):
        yield Finding(False, "is random: two calls differ; gradients and classes were not compared")
        return
    yield from _check_extremes(name)
    (slope,) = torch.autograd.grad(loss.sum(), inputs)
    if not slope.any():
        yield Finding(True, "has a gradient of 0 everywhere, so nothing is learned; a step or a rounding cuts the path")
    elif not gradcheck(
        lambda given: criterion(given, target), (inputs,), raise_exception=False, check_undefined_grad=False
    ):
        stopped = any(word in getsource(LOSSES[name].function) for word in ("detach", "no_grad"))
        cure = "what is detached counts as constant, which may be meant" if stopped else BACKWARD
        yield Finding(not stopped, f"has a gradient that finite differences in float64 do not confirm: {cure}")
    if criterion.takes == "logits":
        yield from _check_meaning(name)
    half = BATCH // 2
    with torch.no_grad():
        alone = criterion(inputs[:half], target[:half])
    if not torch.allclose(alone, loss[:half]):
        yield Finding(False, "depends on the other samples of the batch: batch size is part of what is compared")
    if criterion.takes == "logits" and (ratio := _slowness(name)) > SLOW:
        yield Finding(False, f"takes {ratio:.0f} times the time of cross_entropy at (512, 100)")


def _criterion(name: str, reduction: Any = "none") -> Criterion:
    return Criterion(
        name,
        reduction=reduction,
        num_classes=CLASSES,
        embedding_dim=WIDTH,
        class_counts=torch.full((CLASSES,), 20),
        class_names=tuple(map(str, range(CLASSES))),
    ).double()


def _problem(criterion: Criterion) -> tuple[Tensor, Tensor]:
    columns = WIDTH if criterion.takes == "embeddings" else criterion.num_outputs(CLASSES)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(BATCH, columns, dtype=torch.float64, generator=generator)
    return inputs.requires_grad_(), torch.arange(BATCH) % CLASSES


def _finite_hint(name: str) -> str:
    if "log_probs" in LOSSES[name].tensors:
        return "log_probs are logarithms of probabilities, all <= 0; take .exp() where probabilities are due"
    return "look for a logarithm or root of what may be 0 or less, and for a division by 0"


def _check_extremes(name: str) -> Findings:
    """Logits of ±1e4, as an untrained or a confident network gives them."""
    criterion = _criterion(name)
    inputs, target = _problem(criterion)
    for sign in (1, -1):
        extreme = (sign * EXTREME * inputs.detach().sign()).requires_grad_()
        loss = criterion(extreme, target)
        (slope,) = torch.autograd.grad(loss.sum(), extreme)
        what = "loss" if not loss.isfinite().all() else "gradient" if not slope.isfinite().all() else ""
        if what:
            yield Finding(
                True,
                f"has a {what} that is not finite at {criterion.takes} of ±{EXTREME:g}: work with log_probs, or limit "
                "what goes into a logarithm, a root or a division, such as with .clamp(min=1e-12)",
            )
            return


def _check_meaning(name: str) -> Findings:
    """Whether being right costs less than being wrong, and whether the order of the classes matters."""
    criterion = _criterion(name)
    columns = criterion.num_outputs(CLASSES)
    if columns != CLASSES:
        return
    target = torch.arange(BATCH) % CLASSES
    right = 4.0 * torch.nn.functional.one_hot(target, CLASSES).double()
    with torch.no_grad():
        gap = (criterion(right.roll(1, dims=1), target) - criterion(right, target)).min().item()
        inputs, _ = _problem(criterion)
        order = torch.tensor([2, 0, 4, 1, 3])
        permuted = criterion(inputs[:, order], order.argsort()[target])
        moved = LOSSES[name].state is None and not torch.allclose(permuted, criterion(inputs, target))
    if gap <= 0:
        yield Finding(
            True,
            "is not smaller where the model is right: a minus is missing, or log_probs (logarithms, all <= 0) are "
            "taken for probabilities; .exp() gives those",
        )
    if moved:
        yield Finding(
            False, "depends on the order of the classes: if that is not meant, a class is named by its number"
        )


def _slowness(name: str) -> float:
    """Time forward and backward, as a multiple of that of cross-entropy."""
    inputs, target = torch.randn(512, 100, generator=torch.Generator().manual_seed(0)), torch.arange(512) % 100

    def seconds(loss: str) -> float:
        criterion = Criterion(loss, num_classes=100, class_counts=torch.full((100,), 20))
        times = []
        for _ in range(5):
            logits = inputs.clone().requires_grad_()
            began = time.perf_counter()
            criterion(logits, target).backward()
            times.append(time.perf_counter() - began)
        return min(times)

    try:
        return seconds(name) / seconds("cross_entropy")
    except ValueError:  # a loss that wants to know more of the classes
        return 0.0


def _check_probability(name: str) -> Findings:
    function = PROBABILITIES[name].function
    inputs = torch.randn(BATCH, CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = inputs.clone()
    result = function(inputs, None)
    if not isinstance(result, Tensor) or result.shape != inputs.shape:
        got = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        yield Finding(True, f"must return log-probabilities of shape {tuple(inputs.shape)}, got {got}")
        return
    if not torch.equal(inputs, before):
        yield Finding(True, "changes its logits in place; work on a copy, such as with .clone()")
    sums = result.exp().sum(1)
    if not torch.allclose(sums, torch.ones_like(sums)):
        plain = torch.allclose(result.sum(1), torch.ones_like(sums))
        cure = "it returns probabilities; return their logarithms" if plain else "subtract .logsumexp(1, keepdim=True)"
        yield Finding(True, f"returns logarithms of what sums to {sums[0].item():.3g} instead of 1: {cure}")
    extreme = function((EXTREME * before.sign()).requires_grad_(), None)
    if not extreme.isfinite().all():
        yield Finding(
            True, f"is not finite at logits of ±{EXTREME:g}: subtract the largest logit before an exponential"
        )
    inputs.requires_grad_()
    if not gradcheck(lambda given: function(given, None), (inputs,), raise_exception=False, check_undefined_grad=False):
        yield Finding(True, f"has a gradient that finite differences in float64 do not confirm: {BACKWARD}")


def _check_model(name: str) -> Findings:
    """The network on images of 1 x 28 x 28 and 3 x 32 x 32, forward and backward."""
    failures = []
    for channels, side in ((1, 28), (3, 32)):
        try:
            model = MODELS[name](CLASSES, channels, image_size=side)
        except ValueError as error:
            failures.append(str(error))
            continue
        output = model(torch.randn(4, channels, side, side))
        output.logits.sum().backward()
        if not any(p.grad is not None for p in model.parameters()):
            yield Finding(True, "has no weight that a gradient reaches, so nothing is learned")
            return
        if not model.has_embeddings:
            yield Finding(
                False, "gives no embeddings (its last layer is no linear one of its own): losses on logits only"
            )
            return
    yield from (Finding(len(failures) == 2, text) for text in failures[:1])


def _check_metric(name: str) -> Findings:
    try_metrics([name], CLASSES)
    yield from ()


def _check_dataset(name: str) -> Findings:
    dataset = load(name)
    require_enough_images(dataset)
    counts = torch.bincount(dataset.train.target, minlength=dataset.num_classes)
    if not counts.all():
        empty = [dataset.class_names[index] for index in (counts == 0).nonzero()[:, 0].tolist()]
        yield Finding(False, f"has no training images of {', '.join(empty)}")
    if _make_again(name) != dataset.fingerprint:
        yield Finding(True, "makes other images at each call: draw from a generator with a fixed seed")


def _make_again(name: str) -> str:
    from lossbench.data import DATASETS
    from lossbench.data.loading import generated

    spec = DATASETS[name]
    return load(name).fingerprint if spec.generate is None else generated.__wrapped__(spec)[0].fingerprint


def _check_other(field: str) -> Callable[[str], Findings]:
    """An augmentation or an optimizer: one epoch of a small run."""

    def check(name: str) -> Findings:
        from lossbench.training.checkpoint import undisturbed
        from lossbench.training.loop import train
        from lossbench.training.run import prepare, start

        config = RunConfig.from_dict({"dataset": "shapes", "epochs": 1, "train_size": 64, field: name})
        dataset, cpu = load("shapes"), torch.device("cpu")
        with undisturbed():
            splits = prepare(config, dataset, cpu)
            training = start(config, dataset, splits.train, cpu)
            before = [p.detach().clone() for p in training.model.parameters()]
            list(train(training, splits.train, splits.scored, splits.prefix))
        if all(torch.equal(old, new) for old, new in zip(before, training.model.parameters(), strict=True)):
            yield Finding(True, "leaves every weight as it was after an epoch")

    return check


_CHECKS: dict[str, Callable[[str], Findings]] = {  # by the kind of registry
    "loss": check_loss,
    "probability function": _check_probability,
    "model": _check_model,
    "metric": _check_metric,
    "dataset": _check_dataset,
    "augmentation": _check_other("augmentation"),
    "optimizer": _check_other("optimizer"),
}
