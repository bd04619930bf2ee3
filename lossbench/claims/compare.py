"""From a contrast to paired differences by data set, with everything named that was left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lossbench.claims.contrast import PLAIN, Contrast, selected
from lossbench.claims.estimates import Estimate, combine, noise_band
from lossbench.claims.tables import SETTING, Tables, belongs
from lossbench.config import RunConfig

Place = tuple[str, str]
Sides = list[list[int]]
Kind = tuple[object, ...]
MOSTLY = 0.5
# What a term that names the column leaves open as well.
WITH = {"loss": {"label", "loss_params"}, "probability": {"probability_params"}, "train_part": {"train_size"}}


@dataclass(frozen=True)
class Sample:
    """The paired differences of one data set and model.

    Args:
        dataset, model: where they were measured.
        setting: the rest of the config that all its runs share, as text by field.
        images: training images, as text.
        seeds: the seeds that all sides have, in the order of `values`.
        values: (seeds,) the contrast, in the scale's unit, minus its null value.
        variance: of one contrast between runs of one function, from the spread of the reference over seeds.
        reference_seeds: seeds behind `variance`.
        kinds: combinations of loss and probability function that every value averages.
        lost: diverged runs of each term.
        cut_off: share of its runs whose best epoch is the last one.
        limits: what is missing here.
    """

    dataset: str
    model: str
    setting: dict[str, str]
    images: str
    seeds: tuple[int, ...]
    values: np.ndarray
    variance: float
    reference_seeds: int
    kinds: int
    lost: tuple[int, ...]
    cut_off: float
    limits: tuple[str, ...]

    @property
    def unusual(self) -> dict[str, str]:
        """The fields of the setting that differ from the defaults, other than how much is trained on what."""
        told = ("dataset", "model", "epochs", "train_size")
        plain = {name: "" if value is None else str(value) for name, value in RunConfig.defaults().items()}
        return {name: value for name, value in self.setting.items() if name not in told and value != plain[name]}

    @property
    def is_cut_off(self) -> bool:
        """Whether the training was too short for the best epoch to say how fast a loss is."""
        return self.cut_off > MOSTLY


@dataclass(frozen=True)
class Comparison:
    """What one contrast found.

    Args:
        contrast: what was compared.
        samples: one a data set and model.
        estimate: over all of them, or None where there is no spread to judge by.
        floor: half the width of the noise band around 0, nan where unknown.
        limits: what keeps it from saying more.
    """

    contrast: Contrast
    samples: tuple[Sample, ...]
    estimate: Estimate | None
    floor: float
    limits: tuple[str, ...]

    @property
    def pairs(self) -> int:
        """Pairs that all sides have."""
        return sum(len(sample.values) for sample in self.samples)

    @property
    def mean(self) -> float:
        """The estimate, also where there is no interval."""
        if self.estimate:
            return self.estimate.mean
        return float(np.mean([sample.values.mean() for sample in self.samples])) if self.samples else float("nan")

    @property
    def opposed(self) -> str:
        """Two data sets that on their own say the opposite of each other, as text; empty if there are none."""
        return next(_disagreement(self.samples), "")

    def by_data_set(self) -> list[Comparison]:
        """The same comparison on each data set and model alone."""
        return [
            replace(
                self,
                contrast=replace(self.contrast, says=f"{self.contrast.says} on {one.dataset}, {one.model}"),
                samples=(one,),
                estimate=combine([one.values]),
                floor=noise_band([one.variance], [one.reference_seeds - 1], [len(one.values)]),
            )
            for one in self.samples
        ]

    def lost(self, better: bool) -> int:
        """Diverged runs on the side that a high value favours, or on the other one."""
        favoured = 1 if self.contrast.scale.more_is_better else -1
        side = favoured if better else -favoured
        signs = [np.sign(term.weight) for term in self.contrast.terms]
        alone = len(signs) == 1
        return sum(
            number
            for sample in self.samples
            for sign, number in zip(signs, sample.lost, strict=True)
            if alone or sign == side
        )


def compare(contrast: Contrast, tables: Tables) -> Comparison:
    """Pair the runs that a contrast selects and combine their differences; never fails on a table of runs."""
    if contrast.metric not in tables.columns:
        missing = f"needs {contrast.scale.needs}: no {contrast.scale.words}"
        return Comparison(contrast, (), None, float("nan"), (missing,))
    samples: list[Sample] = []
    limits: list[str] = []
    for (dataset, model), settings in sorted(_rows(contrast, tables).items()):
        place = f"{dataset}, {model}"
        found = [_sample(contrast, sides, tables) for sides in settings.values()]
        whole = [sample for sample in found if len(sample.values)]
        if whole:
            best = max(whole, key=lambda one: (len(one.values), float(one.images or 0), -len(one.unusual)))
            samples.append(best)
            limits += [f"{limit} on {place}" for limit in best.limits]
            if len(whole) > 1:
                limits.append(f"other settings left out on {place}: {len(whole) - 1}")
        elif any(sum(sample.lost) for sample in found):
            limits.append(f"diverged runs leave no pair on {place}")
    estimate = combine([sample.values for sample in samples])
    if samples and estimate is None:
        limits.append("one seed" if all(len(s.values) == 1 for s in samples) else "all differences equal")
    else:
        limits += [f"one seed on {s.dataset}, {s.model}: left out" for s in samples if len(s.values) == 1]
    limits += [f"data sets disagree: {said}" for said in _disagreement(samples)]
    usable = [sample for sample in samples if len(sample.values) > 1]
    floor = noise_band(
        [s.variance for s in usable], [s.reference_seeds - 1 for s in usable], [len(s.values) for s in usable]
    )
    return Comparison(contrast, tuple(samples), estimate, floor, tuple(dict.fromkeys(limits)))


def _rows(contrast: Contrast, tables: Tables) -> dict[Place, dict[bytes, Sides]]:
    """The rows of the table that each term selects, by data set and model and by setting."""
    columns = tables.columns
    shared = {**{key: value for key, value in PLAIN.items() if key not in contrast.named}, **contrast.where}
    chosen = selected(columns, shared)
    if contrast.datasets:
        wanted = {name: any(belongs(name, f) for f in contrast.datasets) for name in set(columns["dataset"])}
        chosen &= np.array([wanted[name] for name in columns["dataset"]], dtype=bool)
    opened = _opened(contrast)
    kept = [place for place, name in enumerate(SETTING) if name not in opened]
    found: dict[Place, dict[bytes, Sides]] = {}
    for number, term in enumerate(contrast.terms):
        for row in np.flatnonzero(chosen & selected(columns, term.where)):
            place = str(columns["dataset"][row]), str(columns["model"][row])
            setting = tables.settings[row, kept].tobytes()
            sides = found.setdefault(place, {}).setdefault(setting, [[] for _ in contrast.terms])
            sides[number].append(int(row))
    return found


def _opened(contrast: Contrast) -> set[str]:
    """Columns in which runs of a contrast may differ because of its terms."""
    return contrast.named.union(*(WITH.get(name, set()) for name in contrast.named))


def _sample(contrast: Contrast, sides: Sides, tables: Tables) -> Sample:
    """Pair the runs of one setting: seeds that every side has with every kind of run that every side has."""
    columns, opened = tables.columns, _opened(contrast)
    kind_of = [
        columns[name] for name, by in (("kind_probability", "probability"), ("label", "label")) if by not in opened
    ]
    values = [_by_seed(rows, columns, contrast, kind_of) for rows in sides]
    kinds = [{kind for scores in side.values() for kind in scores} for side in values]
    common = set.intersection(*kinds)
    limits = []
    if lacking := len(set.union(*kinds)) - len(common):
        limits.append(f"missing cells: {lacking} of {len(common) + lacking} kinds of run lack a side")
    means = [_averages(side, common) for side in values]
    seeds = sorted(set.intersection(*(set(side) for side in means))) if common else []
    every = {int(columns["seed"][row]) for rows in sides for row in rows}
    if common and len(every) > len(seeds):
        limits.append(f"unequal seeds: {len(every) - len(seeds)} of {len(every)} lack a side")
    lost = tuple(int((~columns["ended"][rows].astype(bool)).sum()) for rows in sides)
    if any(lost):
        named = ", ".join(f"{n} of {term.says}" for n, term in zip(lost, contrast.terms, strict=True) if n)
        limits.append(f"diverged runs: {named}")
    cut_off = _cut_off(contrast, sides, columns)
    if cut_off > MOSTLY:
        limits.append(f"cut off: the best epoch is the last one in {cut_off:.0%} of the runs")
    reference = list(means[_reference(contrast)].values()) if common else []
    spread = float(np.var(reference, ddof=1)) if len(reference) > 1 and len(sides) > 1 else 0.0
    weights = [term.weight for term in contrast.terms]
    first = next(row for rows in sides for row in rows)
    return Sample(
        dataset=str(columns["dataset"][first]),
        model=str(columns["model"][first]),
        setting={name: tables.said(first, name) for name in SETTING if name not in opened},
        images=tables.said(first, "train_images" if "train_images" in columns else "train_size").removesuffix(".0"),
        seeds=tuple(seeds),
        values=np.array([np.dot(weights, [side[seed] for side in means]) - contrast.null for seed in seeds]),
        variance=spread * sum(weight**2 for weight in weights),
        reference_seeds=len(reference),
        kinds=len(common),
        lost=lost,
        cut_off=cut_off,
        limits=tuple(limits),
    )


def _cut_off(contrast: Contrast, sides: Sides, columns: Mapping[str, np.ndarray]) -> float:
    """Share of runs whose best epoch is their last, for claims about the best epoch; 0 for others."""
    if contrast.metric != "best_epoch":
        return 0.0
    rows = [row for side in sides for row in side if columns["ended"][row]]
    return float(np.mean([columns["best_epoch"][row] >= columns["epochs"][row] for row in rows])) if rows else 0.0


def _averages(side: dict[int, dict[Kind, float]], kinds: set[Kind]) -> dict[int, float]:
    """The mean over `kinds` of every seed that has them all."""
    whole = {seed: [scores[kind] for kind in kinds] for seed, scores in side.items() if kinds <= set(scores)}
    return {seed: float(np.mean(scores)) for seed, scores in whole.items()} if kinds else {}


def _by_seed(
    rows: list[int], columns: Mapping[str, np.ndarray], contrast: Contrast, kind_of: list[np.ndarray]
) -> dict[int, dict[Kind, float]]:
    """Scores of one side in the scale's unit: seed -> kind of run -> mean of its finished runs."""
    found: dict[int, dict[Kind, list[float]]] = {}
    scores = columns[contrast.metric]
    for row in rows:
        if columns["ended"][row] and np.isfinite(scores[row]):
            kind = tuple(names[row] for names in kind_of)
            found.setdefault(int(columns["seed"][row]), {}).setdefault(kind, []).append(float(scores[row]))
    factor = contrast.scale.factor
    return {seed: {kind: factor * float(np.mean(x)) for kind, x in by.items()} for seed, by in found.items()}


def _reference(contrast: Contrast) -> int:
    """The side that shows the noise: cross-entropy if there is one, else the last."""
    named = [term.where.get("loss") == "cross_entropy" for term in contrast.terms]
    return named.index(True) if any(named) else len(named) - 1


def _disagreement(samples: Sequence[Sample]) -> Iterator[str]:
    """Data sets that on their own say the opposite of each other."""
    signs: dict[bool, str] = {}
    for sample in samples:
        alone = combine([sample.values])
        if alone and (alone.interval()[0] > 0 or alone.interval()[1] < 0):
            signs.setdefault(alone.mean > 0, f"{sample.dataset} {alone.mean:+.2f}")
    if len(signs) == 2:
        yield f"{signs[True]}, {signs[False]}"
