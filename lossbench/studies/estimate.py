"""What a study will cost: a few training steps of each kind of run, timed on this machine."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from lossbench import stats
from lossbench.config import RunConfig
from lossbench.data import Dataset, DatasetSpec, Split
from lossbench.data.loading import find_dataset, find_spec
from lossbench.models import MODELS
from lossbench.models.pretrained import Pretrained
from lossbench.records.tables import load_runs
from lossbench.studies.plans import table
from lossbench.training.features import FEATURE_BATCH, see_features, uses_features
from lossbench.training.loop import Training, train_epoch
from lossbench.training.machine import find_device, peak_memory_mb, usable_cores
from lossbench.training.run import start

WARM_UP_STEPS, TIMED_STEPS = 2, 6
EVALUATION_SHARE = 1.15  # scoring the held-out images after each epoch, checkpoints, the final scores


Kind = tuple[str, str, int]  # data set, model and batch size, which tell what a step costs


@dataclass(frozen=True)
class Cost:
    """One kind of run in a study: how many there are and what each takes."""

    dataset: str
    model: str
    runs: int
    images: int
    images_per_second: float
    missing: tuple[str, ...]
    train_size: int
    once: float = 0.0  # hours for what all runs share: the features of a frozen network

    @property
    def hours(self) -> float:
        """Hours of one worker for all runs of this kind."""
        return EVALUATION_SHARE * self.images / self.images_per_second / 3600

    def hours_of(self, config: RunConfig) -> float:
        """Hours of one worker for one run of this kind."""
        return self.hours * config.epochs * (config.train_size or self.train_size) / self.images


def estimate(
    configs: Sequence[RunConfig],
    *,
    workers: int | None = None,
    device: str | None = None,
    data: Path | None = None,
    looks: Sequence[int] = (),
) -> str:
    """A table of the runs, their time and memory on this machine, and the data and weights that are missing.

    Measures a few steps for each data set and model, on noise and, where published weights are missing, from fresh
    ones; read it to about 30 %. With `looks`, also what a study until decided has cost at most when it takes each.
    """
    where = find_device(device)
    count = workers or (usable_cores() if where.type == "cpu" else 1)
    kinds: dict[Kind, list[RunConfig]] = defaultdict(list)
    for config in configs:
        kinds[_kind(config)].append(config)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker
    try:
        measured = {kind: measure(group, where, data) for kind, group in kinds.items()}
    finally:
        torch.set_num_threads(threads)
    costs = list(measured.values())
    hours = sum(cost.hours / count + cost.once for cost in costs)
    lines = [
        table(
            ("data set", "model", "runs", "images/s", "hours"),
            [(c.dataset, c.model, str(c.runs), f"{c.images_per_second:,.0f}", f"{c.hours:.2f}") for c in costs],
        ),
        f"about {_duration(hours)} with {count} worker{'s' * (count > 1)} on {where.type}, "
        f"{peak_memory_mb() or 0:,.0f} MB each",
        *_looks_lines(configs, measured, count, looks),
        *(
            f"of that, once for all runs and unless they are in the cache: features of {c.dataset}, {_duration(c.once)}"
            for c in costs
            if c.once
        ),
        *dict.fromkeys(f"missing: {what}" for cost in costs for what in cost.missing),
    ]
    return "\n".join(lines)


def estimate_pilot(
    configs: Sequence[RunConfig],
    output: Path,
    difference: float,
    *,
    price: float | None = None,
    workers: int | None = None,
    device: str | None = None,
    data: Path | None = None,
) -> str:
    """What a difference of `difference` costs, by the runs of these configs that have finished in `output`.

    Raises: ValueError when no loss has three pairs.
    """
    runs = load_runs(output, damaged="skip")
    pilot = runs[runs["run_id"].isin({config.run_id for config in configs})]
    plan = stats.plan(pilot, difference, price=price)
    if plan["pairs"].isna().all():
        raise ValueError(
            f"{str(output)!r} holds no pilot of this study: its spread needs three pairs of a loss and cross-entropy; "
            "run it with --seeds 5 first"
        )
    count = workers or usable_cores()
    first = configs[0]
    here = 3600 * measure([first], find_device(device), data).hours
    there = pilot.loc[(pilot["dataset"] == first.dataset) & (pilot["loss"] == first.loss), "seconds"].mean()
    cost = [] if price is None else ["cost"]
    rows = [
        (
            *(str(row[name]) for name in ("setting", "probability", "label", "n")),
            f"{100 * row['sd']:.2f}",
            *(_number(row[name]) for name in ("pairs_difference", "pairs_equivalence", "pairs_high")),
            f"{row['hours'] / count:.2g}",
            *(f"{row[name]:.2g}" for name in cost),
        )
        for row in plan.to_dict("records")
    ]
    headers = ("setting", "probability", "loss", "pilot pairs", "sd", "to find it", "to exclude it", "at most", "hours")
    return "\n".join(
        [
            table((*headers, *cost), rows),
            f"pairs that find a difference of {100 * difference:g} points in 80 of 100 studies, and that exclude it as "
            "often if there is none; at most: both, if the spread is at its upper 80 % limit",
            f"hours for both, with {count} worker{'s' * (count > 1)} and the pilot's times ({there:.2g} s for a run of "
            f"{first.label}; measured on this machine now: {here:.2g} s)",
        ]
    )


def _number(value: float) -> str:
    return "" if value != value else f"{value:.0f}"


def _looks_lines(
    configs: Sequence[RunConfig], measured: Mapping[Kind, Cost], workers: int, looks: Sequence[int]
) -> Iterator[str]:
    """What is to be done until each look if nothing is decided before it; seeds count from 0."""
    for look in looks:
        due = [config for config in configs if config.seed < look]
        once = sum(measured[kind].once for kind in {_kind(config) for config in due})
        hours = once + sum(measured[_kind(config)].hours_of(config) for config in due) / workers
        yield f"until the look at {look} pairs: at most {len(due)} runs, about {_duration(hours)}"


def measure(configs: Sequence[RunConfig], device: torch.device, data: Path | None) -> Cost:
    """Time some steps of the first config's training; all configs share data set, model and batch size."""
    first = configs[0]
    spec, entry, missing = find_spec(first.dataset, data), MODELS[first.model], []
    try:
        find_dataset(spec, data)
    except FileNotFoundError as error:
        missing.append(f"{first.dataset}: {error}")
    if first.pretrained and entry.pretrained is not None:
        try:
            entry.pretrained.find(entry.name)
        except FileNotFoundError as error:
            missing.append(str(error))
            entry = replace(entry, pretrained=_FreshWeights(**vars(entry.pretrained)))
    size = sum(config.epochs * (config.train_size or spec.train_size) for config in configs)
    images = _make_noise(spec, first.batch_size * TIMED_STEPS, device)
    dataset = Dataset(
        spec.name, spec.class_names, images, images, "", (0.5,) * spec.image_shape[0], (0.25,) * spec.image_shape[0]
    )
    training = start(replace(first, patience=None), dataset, images, device, entry)
    once = 0.0
    if uses_features(first):
        once, images = _time_features(training, images)
        once *= spec.train_size + spec.test_size + spec.validation_size
    training.begin_epoch()
    warm_up = first.batch_size * WARM_UP_STEPS
    train_epoch(training, Split(images.images[:warm_up], images.target[:warm_up]))
    began = time.perf_counter()
    train_epoch(training, images)
    rate = len(images) / (time.perf_counter() - began)
    return Cost(first.dataset, first.model, len(configs), size, rate, tuple(missing), spec.train_size, once)


@torch.no_grad()
def _time_features(training: Training, images: Split) -> tuple[float, Split]:
    """Hours that the frozen network takes for an image, and the features on which its head then trains."""
    body = training.model.eval().body
    parts = torch.split(images.images, FEATURE_BATCH)
    body(training.normalise(parts[0][:2]))  # the first call is slower
    began = time.perf_counter()
    features = torch.cat([body(training.normalise(part)) for part in parts])
    hours = (time.perf_counter() - began) / 3600 / len(images)
    see_features(training)
    training.model.train()
    return hours, Split(features, images.target)


class _FreshWeights(Pretrained):
    """Weights that are not here: the body stays as it is, since their values do not change what a step costs."""

    def load_into(self, body: nn.Module, name: str) -> None:
        """Leave the body alone."""


def _make_noise(spec: DatasetSpec, count: int, device: torch.device) -> Split:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, *spec.image_shape), generator=generator, dtype=torch.uint8)
    return Split(images.to(device), (torch.arange(count) % spec.num_classes).to(device))


def _kind(config: RunConfig) -> Kind:
    return config.dataset, config.model, config.batch_size


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} hours"
    minutes = max(1, round(60 * hours))
    return f"{minutes} minute{'s' * (minutes > 1)}"
