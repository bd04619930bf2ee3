"""Named studies: lists of configs that together answer a question."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from lossbench.config import RunConfig
from lossbench.names import unknown

# The five losses and three probability functions of paper 000, in its order.
THESIS_LOSSES: tuple[tuple[str, dict[str, float]], ...] = (
    ("cross_entropy", {}),
    ("kl_divergence", {}),
    ("js_divergence", {}),
    ("focal", {"gamma": 0.5}),
    ("focal", {"gamma": 2.0}),
)
THESIS_PROBABILITIES: tuple[tuple[str, dict[str, float]], ...] = (
    ("softmax", {}),
    ("soft_margin_softmax", {"margin": 0.3}),
    ("taylor_softmax", {}),
)


@dataclass(frozen=True)
class Study:
    """A question and the runs that answer it: `plan(base)` gives the configs of one dataset and one seed."""

    question: str
    plan: Callable[[RunConfig], list[RunConfig]]
    datasets: tuple[str, ...]


def thesis(base: RunConfig) -> list[RunConfig]:
    """Five losses times three probability functions, everything else equal."""
    return [
        replace(base, loss=loss, loss_params=params, probability=name, probability_params=margin)
        for loss, params in THESIS_LOSSES
        for name, margin in THESIS_PROBABILITIES
    ]


STUDIES: dict[str, Study] = {
    "thesis": Study(
        "Do five losses under three probability functions differ in accuracy or speed? (paper 000)",
        thesis,
        ("fashion-mini",),
    ),
}


def plan_study(
    name: str, datasets: Sequence[str] = (), seeds: int | Iterable[int] = 3, base: RunConfig | None = None
) -> list[RunConfig]:
    """The configs of a named study, seed by seed, so that an interrupted study still holds whole comparisons.

    Args:
        name: a name in `STUDIES`.
        datasets: names in `DATASETS`; none takes the study's own.
        seeds: how many seeds, counted from 0, or the seeds themselves.
        base: settings that all runs share, such as `RunConfig(epochs=5)`.

    Raises: ValueError for an unknown name or no seed at all.
    """
    if name not in STUDIES:
        raise ValueError(unknown("study", name, STUDIES))
    every = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not every:
        raise ValueError(f"seeds must be at least 1, got {seeds!r}")
    study = STUDIES[name]
    shared = base or RunConfig()
    points = [replace(shared, dataset=d, seed=s) for s in every for d in (datasets or study.datasets)]
    return [config for point in points for config in study.plan(point)]


def compare_losses(
    losses: Sequence[tuple[str, dict[str, object]]], seeds: int = 3, base: RunConfig | None = None
) -> list[RunConfig]:
    """Configs that compare `(name, params)` losses over paired seeds, everything else as in `base`.

    >>> [c.label for c in compare_losses([("cross_entropy", {}), ("focal", {"gamma": 2.0})], seeds=1)]
    ['cross-entropy', 'focal γ=2']
    """
    shared = base or RunConfig()
    return [
        replace(shared, seed=seed, loss=loss, loss_params=params) for seed in range(seeds) for loss, params in losses
    ]
