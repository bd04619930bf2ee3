"""What is compared: runs selected by their fields, weighed against each other within data set, setting and seed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import pandas as pd

from lossbench import stats
from lossbench.config import RunConfig
from lossbench.data.loading import find_spec
from lossbench.data.trees import TREES, top_groups
from lossbench.data.yardsticks import belongs
from lossbench.records.declaration import TunedDeclaration
from lossbench.registry import parse_value
from lossbench.stats import metrics
from lossbench.stats.learned import why_not_learned
from lossbench.stats.paired import OUTCOMES, TWINS, Outcome, judge
from lossbench.stats.pooled import Pooled, pool
from lossbench.stats.runs import COMPARED, merge_idle

Row = dict[Any, Any]
REACHED = 0.95
PARTS = (0.8, 0.75, 0.6)  # of the training images, in paper 001
# Family of data sets -> the class that paper 000 calls the hardest.
HARDEST = {"fashion-mnist": 6, "cifar-10": 3}
CURVES = ("epochs_needed", "first_epoch_accuracy", "roughness", "train_gap")
MISTAKES = ("hardest_lead", "worst_gap", "similar_mistakes")
SETTING = tuple(name for name in RunConfig.defaults() if name not in COMPARED)
UNKNOWN = ("", "nan", "None", "<NA>")
TUNED_FIELDS = ("lr", "weight_decay")


def _points(title: str, higher_is_better: bool = True) -> Outcome:
    return Outcome(title, "points", 100.0, higher_is_better=higher_is_better)


SCORES: dict[str, Outcome] = {
    **OUTCOMES,
    "best_epoch": Outcome("best epoch", "epochs", higher_is_better=False),
    "first_epoch_accuracy": _points("accuracy after the first epoch"),
    "roughness": _points("unrest of the accuracy from epoch to epoch", higher_is_better=False),
    "train_gap": _points("training minus validation accuracy", higher_is_better=False),
    "rescued": _points("share of mistakes whose true class is among the first five"),
    "hardest_lead": _points("recall by which the class lies below every other"),
    "worst_gap": _points("recall by which the worst class lies below every other", higher_is_better=False),
    "similar_mistakes": _points("mistakes within the class's branch beyond chance"),
}


@dataclass(frozen=True)
class Tables:
    """What claims look at: a dict a run, with the columns of `load_runs` and what `prepare` adds; scores by fold.

    `rows` were made at one learning rate for all losses; `tuned` are the finals of tuned studies, in which each loss
    has its own learning rate and weight decay.
    """

    rows: list[Row]
    tuned: list[Row]
    folds: pd.DataFrame | None


def prepare(
    runs: pd.DataFrame,
    confusion: pd.DataFrame | None = None,
    folds: pd.DataFrame | None = None,
    history: pd.DataFrame | None = None,
    plans: Sequence[TunedDeclaration] = (),
) -> Tables:
    """Drop runs that two studies share, and those of KL divergence, and add what claims need.

    New columns: `params` (of the loss), `ended`, `rescued`, `train_part` (of the images of the same setting's largest
    run), and from `history` and `confusion`, if given, `CURVES` and `MISTAKES`. Of the tuned studies that `plans`
    declare, the finals are told apart and the trials left out, but for each loss's default.

    Raises: ValueError when `runs` lacks the columns of `load_runs`.
    """
    needed = {"run_id", "label", "status", *(name for name in RunConfig.defaults() if name != "noise_kind")}
    if missing := sorted(needed - set(runs)):
        raise ValueError(f"the table of runs lacks {', '.join(missing)}; pass what load_runs gives")
    # KL divergence is cross-entropy on class indices: kept, its runs would count twice.
    table = merge_idle(runs[runs["loss"] != TWINS[1]].drop_duplicates("run_id")).reset_index(drop=True)
    if {"test_top5", "test_accuracy"} <= set(table):
        wrong = 1 - table["test_accuracy"].astype(float)
        table["rescued"] = (table["test_top5"].astype(float) - 1 + wrong) / wrong.where(wrong > 0)
    table["train_part"] = _train_parts(table)
    if history is not None and len(history):
        table = table.merge(_curve_scores(history), on="run_id", how="left")
    if confusion is not None and len(confusion):
        table = table.merge(_mistake_scores(confusion, table), on="run_id", how="left")
    table["ended"] = table["status"] == "finished"
    table["params"] = table["loss_params"].map(_read_params)
    return Tables(*_told_apart(table.to_dict("records"), plans), folds)


def _told_apart(rows: list[Row], plans: Sequence[TunedDeclaration]) -> tuple[list[Row], list[Row]]:
    """The runs of no tuned study, and the finals of tuned ones with their `draw` (the study) and `budget`."""
    by_id = {row["run_id"]: row for row in rows}
    defaults, trials = set[str](), set[str]()
    finals: dict[tuple[str, int, str], str] = {}
    for plan in plans:
        budget = f"{plan.trials} trials, {plan.studies} studies, {plan.finals} finals"
        trials |= plan.trial_ids
        defaults |= {row["run_id"] for row in plan.runs if row.get("point") == 0}
        for winner in [*plan.winners, *(row for condition in plan.conditions for row in condition["winners"])]:
            finals |= {(run_id, winner["study"], budget): run_id for run_id in winner["finals"] if run_id in by_id}
    tuned = [{**by_id[run_id], "draw": draw, "budget": budget} for (_, draw, budget), run_id in finals.items()]
    ours = trials | set(finals.values())
    plain = [row for row in rows if row["run_id"] not in ours]
    plain += [{**row, "default_of": "tuned study"} for row in rows if row["run_id"] in defaults]
    return plain, tuned


def is_unfinished(row: Row) -> bool:
    """Whether the best epoch of a run is its last, so that it might have become better."""
    return float(row.get("best_epoch", math.nan)) >= float(row["epochs"])


def text(row: Row, name: str) -> str:
    """A run's value in a column as text, empty where there is none."""
    value = str(row.get(name, ""))
    return "" if value in UNKNOWN else value.removesuffix(".0")


@cache
def _read_params(params: str) -> dict[str, Any]:
    parts = (part.partition("=") for part in str(params).split(";") if part)
    return {name: parse_value(value) for name, _, value in parts}


@cache
def _train_size(dataset: str) -> float:
    try:
        return find_spec(dataset).train_size
    except (ValueError, OSError):
        return math.nan


def _train_parts(table: pd.DataFrame) -> pd.Series:
    """The share of the images that paper 001 would call the whole, where runs with fewer exist beside them.

    Runs of one study that differ in nothing else: 3,000 images of another study are no 0.6 of the 5,000 of this one.
    """
    size = table["train_size"].astype(float).fillna(table["dataset"].map(_train_size).astype(float))
    part = pd.Series(np.nan, index=table.index)
    shared = [name for name in ("study", *SETTING) if name in table and name != "train_size"]
    for _, group in size.groupby([table[name].astype(str) for name in shared], dropna=False):
        sizes = set(group.dropna())
        for base in sorted(map(float, sizes)):
            named = {float(int(base * share)): share for share in PARTS}
            if named.keys() & sizes:
                part.update(group.map({**named, base: 1.0}).dropna())
    return part


def _curve_scores(history: pd.DataFrame) -> pd.DataFrame:
    """Scores of each learning curve: validation accuracy, or test accuracy where the epoch was chosen on it."""
    table = history.drop_duplicates(["run_id", "epoch"]).sort_values(["run_id", "epoch"], kind="stable")
    table = table.assign(judged=stats.judged_accuracy(table))
    if "train_accuracy" not in table:
        table["train_accuracy"] = np.nan
    rows = []
    for run_id, part in table.groupby("run_id")[["judged", "train_accuracy"]]:
        curve, train = part.astype(float).to_numpy().T
        steps = np.diff(curve[len(curve) // 2 :])
        rough = steps.std(ddof=1) if len(steps) > 1 else math.nan
        rows.append((run_id, metrics.epochs_to_reach(curve, REACHED), curve[0], rough, train[-1] - curve[-1]))
    return pd.DataFrame(rows, columns=["run_id", *CURVES])


def _mistake_scores(confusion: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Scores of each confusion matrix over ten classes."""
    datasets = dict(zip(runs["run_id"], runs["dataset"], strict=True))
    rows = []
    for run_id, cells in confusion.drop_duplicates(["run_id", "true", "predicted"]).groupby("run_id", sort=False):
        true, predicted = (cells[name].to_numpy(dtype=int) for name in ("true", "predicted"))
        if run_id in datasets and max(true.max(), predicted.max()) < 10:
            matrix = np.zeros((10, 10))
            matrix[true, predicted] = cells["count"]
            family = next((name for name in HARDEST if belongs(datasets[run_id], name)), None)
            rows.append((run_id, *_score_mistakes(matrix, family)))
    return pd.DataFrame(rows, columns=["run_id", *MISTAKES])


def _score_mistakes(matrix: np.ndarray, family: str | None) -> tuple[float, float, float]:
    """By how much the named class, and the worst one, lie below every other; how far mistakes stay among like."""
    recall = np.diag(matrix) / np.maximum(matrix.sum(axis=1), 1)
    worst, second = np.sort(recall)[:2]
    if family is None:
        return math.nan, second - worst, math.nan
    hardest = HARDEST[family]
    lead = np.delete(recall, hardest).min() - recall[hardest]
    return lead, second - worst, _similarity(matrix, family)


def _similarity(matrix: np.ndarray, family: str) -> float:
    """Share of mistakes that stay in the main branch of the class tree, minus the share chance would leave there."""
    tree = TREES[family]
    branches = top_groups(tree.children, tree.class_names)
    same = (branches[:, None] == branches[None, :]) & ~np.eye(len(branches), dtype=bool)
    wrong = matrix - np.diag(np.diag(matrix))
    if not wrong.any():
        return math.nan
    by_chance = wrong.sum(axis=1) @ (same.sum(axis=1) / (len(branches) - 1))
    return float(((wrong * same).sum() - by_chance) / wrong.sum())


def setting_of(row: Row, opened: Sequence[str] | set[str]) -> tuple[str, ...]:
    """The fields of the config that runs must share, as text, but for those `opened`; a final's own are its loss's."""
    own = TUNED_FIELDS if "draw" in row else ()
    return tuple("" if name in opened or name in own else text(row, name) for name in (*SETTING, "budget"))


Where = Mapping[str, Any]
ANY: Where = {}
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

    @property
    def runs(self) -> str:
        """The runs that it takes, in words."""
        sides = " and ".join(dict.fromkeys(term.name for term in self.terms))
        place = f" on {', '.join(self.datasets)}" if self.datasets else ""
        shared = [f"{name.replace('_', ' ')} {value}" for name, value in self.where.items()]
        return ", ".join([f"runs of {sides}{place}", *shared])


def loss(name: str, **params: Any) -> Where:
    """Select the runs of a loss, and among them those with these parameters."""
    return {"loss": name, **({"params": params} if params else {})}


def minus(
    first: Where, second: Where, metric: str = "test_accuracy", datasets: Sequence[str] = (), where: Where = ANY
) -> Contrast:
    """The score of `first` minus that of `second`; `where` holds for both."""
    return Contrast((Term(1.0, first), Term(-1.0, second)), metric, where, tuple(datasets))


def lead_over(
    first: Where,
    rivals: Sequence[Where],
    metric: str = "test_accuracy",
    datasets: Sequence[str] = (),
    where: Where = ANY,
) -> tuple[Contrast, ...]:
    """By how much `first` is better than each rival, whichever way the score is better."""
    pairs = [(first, rival) if SCORES[metric].higher_is_better else (rival, first) for rival in rivals]
    return tuple(minus(*pair, metric, datasets, where) for pair in pairs)


def alone(which: Where, metric: str, datasets: Sequence[str] = (), null: float = 0.0, weight: float = 1.0) -> Contrast:
    """A score by itself beyond `null`, or below it if `weight` is -1."""
    return Contrast((Term(weight, which),), metric, ANY, tuple(datasets), weight * null)


@dataclass(frozen=True)
class Sample:
    """The paired differences of one contrast on one data set and network, in the unit in which the score is shown.

    `values` are those of `pairs` seeds, or, of tuned losses, the means of these in each tuning study.
    """

    dataset: str
    model: str
    values: np.ndarray
    pairs: int
    resolution: float
    runs: list[Row]
    kinds: int
    limits: tuple[str, ...]

    @property
    def unusual(self) -> list[str]:
        """The fields of the setting that are not the defaults, other than how much is trained on what."""
        fields = [name for name in SETTING if name not in ("dataset", "model", "epochs", "train_size")]
        values = {name: {text(row, name) for row in self.runs} for name in fields}
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
            f"{self.pairs} pairs" + (f" in {len(self.values)} tuning studies" if "draw" in self.runs[0] else ""),
        ]
        return ", ".join(parts)


@dataclass(frozen=True)
class Comparison:
    """What one contrast comes to: a sample a data set and network, all of them pooled, and what is missing."""

    contrast: Contrast
    samples: tuple[Sample, ...]
    limits: tuple[str, ...]

    @cached_property
    def pooled(self) -> Pooled | None:
        """The differences of all samples together; None without an interval."""
        return pool([sample.values for sample in self.samples], [sample.resolution for sample in self.samples])

    @property
    def pairs(self) -> int:
        """Pairs that all sides have."""
        return sum(sample.pairs for sample in self.samples)

    @property
    def opposed(self) -> str:
        """Two data sets that on their own say the opposite of each other, as text; empty if there are none."""
        signs: dict[bool, str] = {}
        for sample in self.samples:
            (row,) = judge([sample.values], margin=None, resolution=sample.resolution)
            if row.low > 0 or row.high < 0:
                signs.setdefault(row.mean > 0, f"{sample.dataset} {row.mean:+.2f}")
        return f"{signs[True]}, {signs[False]}" if len(signs) == 2 else ""

    def by_data_set(self) -> list[Comparison]:
        """The same comparison on each data set and network alone."""
        return [replace(self, samples=(sample,)) for sample in self.samples]


def compare(contrast: Contrast, rows: Sequence[Row]) -> Comparison:
    """Pair the runs that a contrast selects and pool their differences; never fails on a table of runs."""
    samples: list[Sample] = []
    limits: list[str] = []
    if not any(contrast.metric in row for row in rows):
        return Comparison(contrast, (), (f"no {contrast.score.title} in these tables",))
    for (dataset, model), settings in sorted(_sides_by_setting(contrast, rows).items()):
        where = f"on {dataset}, {model}"
        outcomes = [_sample(contrast, sides) for sides in settings.values()]
        if usable := [sample for sample in outcomes if isinstance(sample, Sample)]:
            samples.append(max(usable, key=_preference))
            limits += [f"{limit} {where}" for limit in samples[-1].limits]
            limits += [f"other settings left out {where}: {len(usable) - 1}"] * (len(usable) > 1)
        else:
            limits += [f"{reason} {where}" for reason in filter(None, outcomes)]
    # Defaults of tuned studies have few seeds, which would set the degrees of freedom of a larger study beside them.
    if own := [sample for sample in samples if "default_of" not in sample.runs[0]]:
        samples = own
    comparison = Comparison(contrast, tuple(samples), tuple(dict.fromkeys(limits)))
    if samples and comparison.pooled is None:
        single = "one tuning study" if "draw" in samples[0].runs[0] else "one seed"
        limit = single if all(len(sample.values) == 1 for sample in samples) else "too few pairs, or no spread"
        return replace(comparison, limits=(*comparison.limits, limit))
    return comparison


def _preference(sample: Sample) -> tuple[float, ...]:
    """Most pairs, then most images, then most epochs, then least unusual."""
    first = sample.runs[0]
    return len(sample.values), float(text(first, "train_images") or 0), first["epochs"], -len(sample.unusual)


def _sides_by_setting(contrast: Contrast, rows: Sequence[Row]) -> dict[tuple[str, str], dict[Any, list[list[Row]]]]:
    """The runs that each term selects, by data set and network and by setting."""
    opened = contrast.opened
    shared = {**{key: value for key, value in PLAIN.items() if key not in opened}, **contrast.where}
    networks: dict[tuple[str, str], dict[Any, list[list[Row]]]] = defaultdict(dict)
    for row in rows:
        if contrast.datasets and not any(belongs(row["dataset"], family) for family in contrast.datasets):
            continue
        if matches(row, shared):
            for i, term in enumerate(contrast.terms):
                if matches(row, term.where):
                    settings = networks[row["dataset"], row["model"]]
                    settings.setdefault(setting_of(row, opened), [[] for _ in contrast.terms])[i].append(row)
    return networks


def matches(value: Any, wanted: Any) -> bool:
    """Whether a run, or one value of it, is as wanted: of a mapping every named value."""
    if isinstance(wanted, Mapping):
        return all(matches(value.get(name), part) for name, part in wanted.items())
    if isinstance(wanted, float):
        return value is not None and math.isclose(float(value), wanted, rel_tol=1e-6)
    return bool(value == wanted)


def _sample(contrast: Contrast, sides: list[list[Row]]) -> Sample | str:
    """Pair the runs of one setting: seeds that every side has with every kind of run that every side has.

    Returns: in place of a sample the reason why there is none, empty if a side has no run.
    """
    if not all(sides):
        return ""
    runs = [row for rows in sides for row in rows]
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
    differences = np.array([term.weight for term in contrast.terms]) @ means - contrast.null
    draws = np.array([draw for draw, _ in sorted(seeds)])
    values = np.array([differences[draws == draw].mean() for draw in dict.fromkeys(draws)])
    images = min(float(row.get("test_images", math.nan)) for row in runs)
    counted = contrast.score.counts_images and images > 0
    every, kinds = {_repetition(row) for row in runs}, len(set.union(*map(set, scores)))
    missing = [f"missing cells: {kinds - len(common)} of {kinds} kinds of run lack a side"] * (kinds > len(common))
    missing += [f"unequal seeds: {len(every) - len(seeds)} of {len(every)} lack a side"] * (len(every) > len(seeds))
    return Sample(
        dataset=str(runs[0]["dataset"]),
        model=str(runs[0]["model"]),
        values=values,
        pairs=len(seeds),
        resolution=contrast.score.scale * len(values) / (images * len(common) * len(seeds)) if counted else 0.0,
        runs=runs,
        kinds=len(common),
        limits=(*lost, *missing),
    )


def _nothing_learned(sides: list[list[Row]]) -> str:
    """Why nothing can follow from these runs: none of the networks, or those of one side, have learned the task."""
    scores = [
        (str(rows[0]["label"]), [float(row.get("test_accuracy", math.nan)) for row in rows if row["ended"]])
        for rows in sides
    ]
    first = sides[0][0]
    return why_not_learned(first["dataset"], float(first.get("test_images", math.nan)), scores)


def _repetition(row: Row) -> tuple[int, int]:
    """What runs are paired by: the seed, and before it the tuning study, or the seed where there is none."""
    return int(row["draw"] if "draw" in row else row["seed"]), int(row["seed"])


def _scores(rows: list[Row], contrast: Contrast) -> dict[tuple[str, ...], dict[tuple[int, int], float]]:
    """Scores of one side as shown, of its finished runs: kind of run -> repetition -> score."""
    named = ("loss", "loss_params", "probability", "probability_params")
    kind_of = [name for name in named if name not in contrast.opened]
    scores: dict[tuple[str, ...], dict[tuple[int, int], float]] = defaultdict(dict)
    for row in rows:
        score = float(row.get(contrast.metric, math.nan))
        if row["ended"] and math.isfinite(score):
            scores[tuple(text(row, name) for name in kind_of)][_repetition(row)] = contrast.score.scale * score
    return scores
