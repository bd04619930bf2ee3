"""Where a tuned study looks: the same quasi-random points for every loss, in ranges that are declared beforehand.

A point has four coordinates in [0, 1): learning rate, weight decay, and up to two parameters of the loss's own, whose
ranges stand where the loss is defined. The first point of every loss is its default.

The range of the learning rate is the same for all losses up to the length of their first step. Under SGD a step is as
long as the gradient, so the range is divided by the loss's gradient beside cross-entropy's where all classes are
equally probable. Adam and AdamW divide by the gradient's length themselves: every loss's first step is as long as the
rate says, and the range is one for all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from lossbench.config import RunConfig
from lossbench.registry import remember, unknown

if TYPE_CHECKING:
    from lossbench.losses.catalogue import Parameter

LossSpec = tuple[str, Mapping[str, Any]]

TRIALS, STUDIES, FINALS = 16, 3, 5
OWN = 2  # parameters of a loss that are searched at most
WIDENING = 10.0  # factor by which a range that holds a winner in its outer tenth is extended
OUTER = 0.1
TUNED_FIELDS = ("lr", "weight_decay")

TUNED_LOSSES: tuple[LossSpec, ...] = tuple(
    (name, {})
    for name in (
        *("cross_entropy", "focal", "label_smoothing", "js_divergence", "square_loss", "binary_cross_entropy"),
        *("generalized_cross_entropy", "adma", "poly1", "symmetric_cross_entropy", "squared_hinge"),
        *("confidence_penalty", "false_positive"),
    )
)


@dataclass(frozen=True)
class Range:
    """From `low` to `high`, evenly in the logarithm, or in the number itself where `log` is False."""

    low: float
    high: float
    log: bool = True

    def at(self, share: float) -> float:
        """The value at `share` of the way, in three digits."""
        value = self.low * (self.high / self.low) ** share if self.log else self.low + share * (self.high - self.low)
        return min(max(float(f"{value:.3g}"), self.low), self.high)

    def share(self, value: float) -> float:
        """How far from `low` to `high` a value lies; below 0 or above 1 for one outside."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low) if value > 0 else -math.inf
        return (value - self.low) / (self.high - self.low)

    def beyond(self, upwards: bool) -> Range:
        """The part by which the range is extended at one end."""
        if upwards:
            return Range(self.high, self.high * WIDENING)
        return Range(self.low / WIDENING, self.low)


# Without momentum 0.9 a step is a tenth as long. AdamW multiplies the decay by the rate, so more of it does the same.
RATES = {
    **dict.fromkeys(("adam", "adamw"), Range(1e-4, 3e-2)),
    **dict.fromkeys(("sgd", "sgd_momentum"), Range(1e-3, 1.0)),
    "sgd_plain": Range(1e-2, 10.0),
}
DEFAULT_RATES = {"adam": 1e-3, "adamw": 1e-3, "sgd": 1e-2, "sgd_momentum": 1e-2, "sgd_plain": 0.1}
DECAY = Range(1e-6, 1e-2)
DECAYS = dict.fromkeys(RATES, DECAY) | {"adamw": Range(1e-4, 1.0)}


def follows_gradient(optimizer: str) -> bool:
    """Whether a step is as long as the gradient, so that a loss's rate is divided by its first pull."""
    return optimizer.startswith("sgd")


def tuned(
    base: RunConfig, losses: Sequence[LossSpec] = TUNED_LOSSES, trials: int = TRIALS, *, beyond: str = ""
) -> list[RunConfig]:
    """The trials of every loss in one study: its default, then `trials` - 1 points that all losses share.

    Args:
        base: everything that is not tuned; its seed is the number of the study.
        beyond: such as "lr high": `trials` points in the extension of that range instead, without the default.

    Raises: ValueError for an optimizer without a range, a loss on embeddings, or settings that are tuned themselves.
    """
    require_tunable(base, losses)
    if beyond:
        return [_config(base, loss, point, beyond) for loss in losses for point in _points(trials, base.seed, beyond)]
    points = _points(trials, base.seed)[1:]
    return [config for loss in losses for config in (_default(base, loss), *(_config(base, loss, p) for p in points))]


def require_tunable(base: RunConfig, losses: Sequence[LossSpec]) -> None:
    """ValueError that says what keeps these losses from being tuned with equal budgets."""
    from lossbench.losses import LOSSES

    if base.optimizer not in RATES:
        raise ValueError(unknown("optimizer with a range of learning rates", base.optimizer, tuple(RATES)))
    defaults = RunConfig.defaults()
    if given := [name for name in TUNED_FIELDS if getattr(base, name) != defaults[name]]:
        raise ValueError(f"{' and '.join(given)} cannot be set in a tuned study: they are what it tunes")
    if base.selection != "validation":
        raise ValueError("a tuned study chooses by validation accuracy; leave selection out")
    for name, _ in losses:
        if LOSSES[name].takes == "embeddings":
            raise ValueError(
                f"{name} works on embeddings: its accuracy is that of class means, so it is not tuned here"
            )


def describe(base: RunConfig, losses: Sequence[LossSpec]) -> dict[str, Any]:
    """The space as it is declared: ranges of the shared fields, and of each loss's own parameters."""
    rate, decay, scaled = RATES[base.optimizer], DECAYS[base.optimizer], follows_gradient(base.optimizer)
    factors = {name: 1 / first_pull(name, params, base.dataset) for name, params in losses}
    return {
        "lr": [rate.low, rate.high, "log"],
        "weight_decay": [decay.low, decay.high, "log"],
        "lr_factor": {name: round(value, 6) if scaled else 1.0 for name, value in factors.items()},
        "own": {
            name: {key: [span.low, span.high, "log" if span.log else "linear"] for key, span in _own(name, params)}
            for name, params in losses
        },
    }


def outer_ends(config: RunConfig) -> Iterator[str]:
    """The ends of ranges in whose outer tenth a winner lies, such as "lr high" or "gamma low"."""
    pull = first_pull(config.loss, config.loss_params, config.dataset) if follows_gradient(config.optimizer) else 1.0
    shares = {"lr": RATES[config.optimizer].share(config.lr * pull)}
    if config.weight_decay > 0:
        shares["weight_decay"] = DECAYS[config.optimizer].share(config.weight_decay)
    own = dict(_own(config.loss, {}))
    shares |= {name: own[name].share(value) for name, value in config.loss_params.items() if name in own}
    for name, share in shares.items():
        if share < OUTER or share > 1 - OUTER:
            yield f"{name} {'low' if share < OUTER else 'high'}"


@remember(4096)
def _pull(name: str, params: tuple[tuple[str, Any], ...], class_names: tuple[str, ...]) -> float:
    import torch

    from lossbench.losses import Criterion

    classes = len(class_names)
    target = torch.arange(classes)

    def length(criterion: Criterion) -> float:
        logits = torch.zeros(classes, criterion.num_outputs(classes), dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(criterion(logits, target), logits)
        return float(gradient.norm(dim=1).mean())

    task: dict[str, Any] = {"num_classes": classes, "class_names": class_names, "class_counts": torch.ones(classes)}
    return length(Criterion(name, **task, **dict(params))) / length(Criterion("cross_entropy", num_classes=classes))


def first_pull(loss: str, params: Mapping[str, Any], dataset: str) -> float:
    """Length of the gradient on the logits beside cross-entropy's where all classes are equally probable."""
    from lossbench.data.loading import find_spec

    return _pull(loss, tuple(sorted(params.items())), find_spec(dataset).class_names)


@cache
def _points(count: int, study: int, strip: str = "") -> tuple[tuple[float, ...], ...]:
    """Scrambled Sobol points, the same for every loss; those of an extension are others than those of the study."""
    from scipy.stats import qmc

    draws = qmc.Sobol(2 + OWN, scramble=True, seed=study + (10_000 if strip else 0))
    points = draws.random_base2(math.ceil(math.log2(max(2, count))))[:count]
    return tuple(tuple(float(share) for share in point) for point in points)


def _default(base: RunConfig, loss: LossSpec) -> RunConfig:
    name, params = loss
    return replace(base, loss=name, loss_params=params, lr=_rate(base, loss, DEFAULT_RATES[base.optimizer]))


def _config(base: RunConfig, loss: LossSpec, point: Sequence[float], beyond: str = "") -> RunConfig:
    name, given = loss
    field, _, end = beyond.partition(" ")
    rate, decay = (
        span.beyond(end == "high") if field == part else span
        for part, span in (("lr", RATES[base.optimizer]), ("weight_decay", DECAYS[base.optimizer]))
    )
    params = dict(given)
    for (key, span), share in zip(_own(name, given), point[2:], strict=False):
        params[key] = _value(name, key, span, share)
    lr = _rate(base, (name, params), rate.at(point[0]))
    return replace(base, loss=name, loss_params=params, lr=lr, weight_decay=decay.at(point[1]))


def _rate(base: RunConfig, loss: LossSpec, lr: float) -> float:
    if not follows_gradient(base.optimizer):
        return lr
    return float(f"{lr / first_pull(*loss, base.dataset):.3g}")


def _own(name: str, given: Mapping[str, Any]) -> list[tuple[str, Range]]:
    """The parameters of a loss that are searched, with their ranges."""
    from lossbench.losses import LOSSES

    parameters = [p for p in LOSSES[name].parameters.values() if p.search and p.name not in given]
    return [(p.name, Range(p.search.low, p.search.high, p.search.log)) for p in parameters[:OWN] if p.search]


def _value(name: str, key: str, span: Range, share: float) -> float | int:
    from lossbench.losses import LOSSES

    parameter: Parameter = LOSSES[name].parameters[key]
    if isinstance(parameter.default, int):
        return int(span.low) + math.floor(share * (span.high - span.low + 1))
    return span.at(share)
