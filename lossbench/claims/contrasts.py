"""What is compared: runs selected by their fields, weighed against each other within data set, setting and seed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lossbench.claims.tables import SCORES, SETTING, Row, Tables, belongs, setting_of, text, untrained_accuracy
from lossbench.config import RunConfig
from lossbench.stats.paired import Judgement, Outcome, judge
from lossbench.stats.pooled import Pooled, pool

Where = Mapping[str, Any]
PLAIN: Where = {"label_noise": 0.0, "imbalance": 1.0}  # held unless a contrast says otherwise
# What a term that names the column leaves open as well.
WITH = {"loss": {"loss_params"}, "probability": {"probability_params"}, "train_part": {"train_size"}}


@dataclass(frozen=True)
class Term:
    """One side of a contrast: what it counts with, and the fields of its runs (`params`: among the loss's own)."""

    weight: float
    where: Where

    @property
    def name(self) -> str:
        """What tells the side apart, in words."""
        words = [str(self.where[key]) for key in ("loss", "probability") if key in self.where]
        params = {key: value for key, value in self.where.get("params", {}).items() if value is not False}
        rest = {key: value for key, value in self.where.items() if key not in ("loss", "probability", "params")}
        return " ".join([*words, *(f"{key}={value}" for key, value in {**params, **rest}.items())]) or "any run"


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of scores, formed for every data set, network and seed.

    Runs are compared only with runs that share every field of their config but the ones that `terms` name, and the
    losses or probability functions that the terms leave open must be the same on all sides.

    Args:
        terms: what is summed; the weights sum to 0, but for a lone term.
        metric: a key of `SCORES`.
        where: what all sides share; `PLAIN` holds besides.
        datasets: families of data sets that it is about; empty for any.
        null: the value it is compared with, in the unit in which the score is shown.
    """

    terms: tuple[Term, ...]
    metric: str = "test_accuracy"
    where: Where = field(default_factory=dict)
    datasets: tuple[str, ...] = ()
    null: float = 0.0

    @property
    def score(self) -> Outcome:
        """The score's title, unit and margin."""
        return SCORES[self.metric]

    @property
    def unit(self) -> str:
        """Of the differences; where a score is compared with a number, from which side and with which."""
        side = " above" if self.terms[0].weight > 0 else " below"
        return f"{self.score.unit}{side} {abs(self.null):g}" if self.null else self.score.unit

    @property
    def opened(self) -> set[str]:
        """Fields in which runs may differ because of the terms."""
        named = {"loss_params" if column == "params" else column for term in self.terms for column in term.where}
        return named.union(*(WITH.get(name, set()) for name in named))

    @property
    def says(self) -> str:
        """The score and the sides in words."""
        if len(self.terms) == 1:
            return f"{self.score.title} of {self.terms[0].name}"
        if len(self.terms) == 2:
            return f"{self.score.title}: {self.terms[0].name} minus {self.terms[1].name}"
        first, second, base, _ = (term.name for term in self.terms)
        return f"{self.score.title}: ({first} minus {second}) minus the same as {base}"


def loss(name: str, **params: Any) -> Where:
    """Select the runs of a loss, and among them those with these parameters."""
    return {"loss": name, **({"params": params} if params else {})}


def minus(
    first: Where, second: Where, metric: str = "test_accuracy", datasets: Sequence[str] = (), where: Where | None = None
) -> Contrast:
    """The score of `first` minus that of `second`; `where` holds for both."""
    return Contrast((Term(1.0, first), Term(-1.0, second)), metric, where or {}, tuple(datasets))


def lead_over(
    first: Where,
    rivals: Sequence[Where],
    metric: str = "test_accuracy",
    datasets: Sequence[str] = (),
    where: Where | None = None,
) -> tuple[Contrast, ...]:
    """By how much `first` is better than each rival, whichever way the score is better."""
    pairs = [(first, rival) if SCORES[metric].higher_is_better else (rival, first) for rival in rivals]
    return tuple(minus(*pair, metric, datasets, where) for pair in pairs)


def double_minus(
    first: Where, second: Where, changed: Where, base: Where, datasets: Sequence[str], where: Where
) -> Contrast:
    """(first minus second) under `changed`, minus the same under `base`."""
    terms = tuple(
        Term(sign * side, {**which, **point})
        for side, point in ((1.0, changed), (-1.0, base))
        for sign, which in ((1.0, first), (-1.0, second))
    )
    return Contrast(terms, "test_accuracy", where, tuple(datasets))


def alone(which: Where, metric: str, datasets: Sequence[str] = (), null: float = 0.0, weight: float = 1.0) -> Contrast:
    """A score by itself beyond `null`, or below it if `weight` is -1."""
    return Contrast((Term(weight, which),), metric, {}, tuple(datasets), weight * null)


@dataclass(frozen=True)
class Sample:
    """The paired differences of one contrast on one data set and network, in the unit in which the score is shown."""

    dataset: str
    model: str
    values: np.ndarray
    resolution: float
    runs: list[Row]
    kinds: int
    limits: tuple[str, ...]

    @property
    def judgement(self) -> Judgement:
        """What the engine says of these differences alone, without a margin."""
        return judge([self.values], margin=None, resolution=self.resolution)[0]

    @property
    def unusual(self) -> list[str]:
        """The fields of the setting that are not the defaults, other than how much is trained on what."""
        told = ("dataset", "model", "epochs", "train_size")
        values = {name: {text(row, name) for row in self.runs} for name in SETTING if name not in told}
        plain = {name: text(RunConfig.defaults(), name) for name in values}
        return [f"{name.replace('_', ' ')} {', '.join(texts) or 'not set'}"
                for name, texts in values.items() if len(texts) == 1 and texts != {plain[name]}]  # fmt: skip

    @property
    def setting(self) -> str:
        """Data set, network, images, epochs, what is unusual or averaged, and pairs, as a line of text."""
        images = text(self.runs[0], "train_images") or text(self.runs[0], "train_size")
        parts = [
            f"{self.dataset}: {self.model}",
            *([f"{int(float(images)):,} training images"] if images else []),
            f"{self.runs[0]['epochs']} epochs",
            *self.unusual,
            *([f"mean of {self.kinds} combinations"] if self.kinds > 1 else []),
            f"{len(self.values)} pairs",
        ]
        return ", ".join(parts)


@dataclass(frozen=True)
class Comparison:
    """What one contrast comes to: a sample a data set and network, all of them pooled, and what is missing."""

    contrast: Contrast
    samples: tuple[Sample, ...]
    pooled: Pooled | None
    limits: tuple[str, ...]

    @property
    def pairs(self) -> int:
        """Pairs that all sides have."""
        return sum(len(sample.values) for sample in self.samples)

    @property
    def opposed(self) -> str:
        """Two data sets that on their own say the opposite of each other, as text; empty if there are none."""
        signs: dict[bool, str] = {}
        for sample in self.samples:
            row = sample.judgement
            if row.low > 0 or row.high < 0:
                signs.setdefault(row.mean > 0, f"{sample.dataset} {row.mean:+.2f}")
        return f"{signs[True]}, {signs[False]}" if len(signs) == 2 else ""

    def by_data_set(self) -> list[Comparison]:
        """The same comparison on each data set and network alone."""
        return [
            Comparison(self.contrast, (one,), pool([one.values], [one.resolution]), self.limits) for one in self.samples
        ]


def compare(contrast: Contrast, tables: Tables) -> Comparison:
    """Pair the runs that a contrast selects and pool their differences; never fails on a table of runs."""
    samples: list[Sample] = []
    limits: list[str] = []
    if not any(contrast.metric in row for row in tables.rows):
        return Comparison(contrast, (), None, (f"no {contrast.score.title} in these tables",))
    for (dataset, model), settings in sorted(_sides_by_setting(contrast, tables).items()):
        place = f"{dataset}, {model}"
        found = [_sample(contrast, sides) for sides in settings.values()]
        usable = [sample for sample in found if isinstance(sample, Sample)]
        if usable:
            best = max(usable, key=_preference)
            samples.append(best)
            limits += [f"{limit} on {place}" for limit in best.limits]
        if len(usable) > 1:
            limits.append(f"other settings left out on {place}: {len(usable) - 1}")
        if not usable:
            limits += [f"{reason} on {place}" for reason in dict.fromkeys(map(str, filter(None, found)))]
    pooled = pool([sample.values for sample in samples], [sample.resolution for sample in samples])
    if samples and pooled is None:
        limits.append("one seed" if all(len(s.values) == 1 for s in samples) else "too few pairs, or no spread")
    return Comparison(contrast, tuple(samples), pooled, tuple(dict.fromkeys(limits)))


def _preference(sample: Sample) -> tuple[float, ...]:
    """Most pairs, then most images, then most epochs, then least unusual."""
    first = sample.runs[0]
    return len(sample.values), float(text(first, "train_images") or 0), first["epochs"], -len(sample.unusual)


def _sides_by_setting(contrast: Contrast, tables: Tables) -> dict[tuple[str, str], dict[Any, list[list[Row]]]]:
    """The runs that each term selects, by data set and network and by setting."""
    opened = contrast.opened
    shared = {**{key: value for key, value in PLAIN.items() if key not in opened}, **contrast.where}
    places: dict[tuple[str, str], dict[Any, list[list[Row]]]] = defaultdict(dict)
    for row in tables.rows:
        if contrast.datasets and not any(belongs(row["dataset"], family) for family in contrast.datasets):
            continue
        if matches(row, shared):
            for i, term in enumerate(contrast.terms):
                if matches(row, term.where):
                    settings = places[row["dataset"], row["model"]]
                    settings.setdefault(setting_of(row, opened), [[] for _ in contrast.terms])[i].append(row)
    return places


def matches(values: Row, where: Where) -> bool:
    """Whether a run has these values."""
    for name, wanted in where.items():
        value = values.get(name)
        if isinstance(wanted, Mapping):
            if not matches(value or {}, wanted):
                return False
        elif isinstance(wanted, float):
            if value is None or not math.isclose(float(value), wanted, rel_tol=1e-6):
                return False
        elif value != wanted:
            return False
    return True


def _sample(contrast: Contrast, sides: list[list[Row]]) -> Sample | str:
    """Pair the runs of one setting: seeds that every side has with every kind of run that every side has.

    Returns: in place of a sample the reason why there is none, empty if a side has no run.
    """
    runs = [row for rows in sides for row in rows]
    if not all(sides):
        return ""
    if reason := _nothing_learned(sides):
        return reason
    scores = [_scores(rows, contrast) for rows in sides]
    common = sorted(set.intersection(*map(set, scores)))
    seeds = set.intersection(*(set(side[kind]) for side in scores for kind in common)) if common else set()
    lost = [f"diverged runs: {n} of {term.name}" for term, rows in zip(contrast.terms, sides, strict=True)
            if (n := sum(not row["ended"] for row in rows))]  # fmt: skip
    if not seeds:
        return "; ".join(lost)
    means = np.array([[np.mean([side[kind][seed] for kind in common]) for seed in sorted(seeds)] for side in scores])
    images = min(float(row.get("test_images", math.nan)) for row in runs)
    counted = contrast.score.counts_images and images > 0
    every, kinds = {int(row["seed"]) for row in runs}, len(set.union(*map(set, scores)))
    missing = [f"missing cells: {kinds - len(common)} of {kinds} kinds of run lack a side"] * (kinds > len(common))
    missing += [f"unequal seeds: {len(every) - len(seeds)} of {len(every)} lack a side"] * (len(every) > len(seeds))
    return Sample(
        dataset=str(runs[0]["dataset"]),
        model=str(runs[0]["model"]),
        values=np.array([term.weight for term in contrast.terms]) @ means - contrast.null,
        resolution=contrast.score.scale / (images * len(common)) if counted else 0.0,
        runs=runs,
        kinds=len(common),
        limits=(*lost, *missing),
    )


def _nothing_learned(sides: list[list[Row]]) -> str:
    """Why nothing can follow from these runs: none of the networks, or those of one side, have learned the task."""
    accuracies = [[float(row.get("test_accuracy", math.nan)) for row in rows if row["ended"]] for rows in sides]
    best = max((float(np.mean(values)) for values in accuracies if values), default=math.nan)
    bar = untrained_accuracy(sides[0][0])
    if best < bar:
        return f"no network learned: accuracy {100 * best:.0f} %, class means of raw pixels {100 * bar:.0f} %"
    for rows in sides:
        stuck = sum(row["at_chance"] for row in rows)
        if 2 * stuck > len(rows):
            return f"{stuck} of {len(rows)} runs of {rows[0]['label']} stayed at chance"
    return ""


def _scores(rows: list[Row], contrast: Contrast) -> dict[tuple[str, ...], dict[int, float]]:
    """Scores of one side as shown, of its finished runs: kind of run -> seed -> score."""
    named = ("loss", "loss_params", "probability", "probability_params")
    kind_of = [name for name in named if name not in contrast.opened]
    scores: dict[tuple[str, ...], dict[int, float]] = defaultdict(dict)
    for row in rows:
        score = float(row.get(contrast.metric, math.nan))
        if row["ended"] and math.isfinite(score):
            scores[tuple(text(row, name) for name in kind_of)][int(row["seed"])] = contrast.score.scale * score
    return scores
