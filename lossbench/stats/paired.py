"""One loss against another, paired by seed: the one engine and the one rule by which a difference is judged.

For one setting and one outcome, d is the loss's score minus the reference's under the same seed.

- **estimate**: mean of d with Student's t interval, the number of pairs and how many of them lie above 0;
- **difference**: two-sided paired t test, corrected by Holm over all losses of one study, setting and probability
  function, which are one family; from 8 pairs on, the exact sign-flip test stands beside it;
- **practical size**: two one-sided t tests against a margin that was stated before the runs;
- **word**: `better` or `worse`: differs; `slightly better` or `slightly worse`: differs, and the 90 % interval lies
  inside the margin; `equivalent`: does not differ, and lies inside; `undecided`: neither;
- **no word**: `not learned` where the networks have not learned their task, by the rule of `stats.learned`;
- **resolution**: an accuracy on m images is a multiple of 1/m, so a standard error is never taken smaller than one
  image in one of the runs would make it, and ties are counted. With fewer than 3 pairs every word is `undecided`.

`python -m benchmarks.calibration` measures by simulation how often these words are wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lossbench.config import RunConfig
from lossbench.stats.learned import NOT_LEARNED, at_chance, is_last_best, why_runs_not_learned
from lossbench.stats.runs import REFERENCE, Setting, finished, merge_idle, probability_labels, setting_fields, settings

if TYPE_CHECKING:
    import pandas as pd


ALPHA = 0.05
LEAST_PAIRS = 3  # fewer never decide
EXACT_PAIRS = 8  # from here on all 2^n flips of signs can reach p = 0.01
TWINS = ("cross_entropy", "kl_divergence")  # one function on one-hot targets

BETTER, WORSE = "better", "worse"
SLIGHTLY_BETTER, SLIGHTLY_WORSE = "slightly better", "slightly worse"
EQUIVALENT, UNDECIDED, SAME_FUNCTION = "equivalent", "undecided", "same function"
VERDICTS = (BETTER, SLIGHTLY_BETTER, EQUIVALENT, UNDECIDED, SLIGHTLY_WORSE, WORSE)

# The looks of a comparison that goes on until it is decided, and the level of each: by simulation, all four together
# then have an error of 0.05, whether for one loss or for 16 and for a difference as for equivalence.
LOOKS = (5, 10, 20, 40)
LOOK_LEVEL = 0.015


@dataclass(frozen=True)
class Outcome:
    """A column of scores and how its differences are read.

    Args:
        title: for axes and sentences, such as "test accuracy".
        unit: of a difference as shown, such as "points".
        scale: shown difference = difference of the column times `scale`.
        margin: smallest difference of the column that matters; None if none was stated, then nothing is equivalent.
        higher_is_better: whether a positive difference is good.
        counts_images: whether the column is a multiple of one over the number of test images.
    """

    title: str
    unit: str = ""
    scale: float = 1.0
    margin: float | None = None
    higher_is_better: bool = True
    counts_images: bool = False


OUTCOMES: dict[str, Outcome] = {
    "test_accuracy": Outcome("test accuracy", "points", 100.0, 0.005, counts_images=True),
    "test_class_mean_accuracy": Outcome("accuracy by nearest class mean", "points", 100.0, 0.005, counts_images=True),
    "test_transfer_accuracy": Outcome("accuracy of a linear head on other images", "points", 100.0, 0.005),
    "test_macro_f1": Outcome("macro F1", "points", 100.0, 0.005),
    "test_balanced_accuracy": Outcome("balanced accuracy", "points", 100.0, 0.005),
    "test_auroc": Outcome("AUROC", "points", 100.0),
    "test_ece": Outcome("calibration error (ECE)", "points", 100.0, 0.005, higher_is_better=False),
    "test_top5": Outcome("top-5 accuracy", "points", 100.0, 0.005, counts_images=True),
    "test_nmi": Outcome("NMI", "points", 100.0),
    "test_recall_at_1": Outcome("recall@1", "points", 100.0, counts_images=True),
    "test_recall_at_8": Outcome("recall@8", "points", 100.0, counts_images=True),
    "test_critical_error": Outcome("critical mistakes", "points", 100.0, higher_is_better=False, counts_images=True),
    "test_tree_distance": Outcome("tree distance", "edges", higher_is_better=False),
    "test_mistake_distance": Outcome("tree distance of mistakes", "edges", higher_is_better=False),
    "test_nll": Outcome("negative log-likelihood", "nats", 1.0, 0.02, higher_is_better=False),
    "test_brier": Outcome("Brier score", "", 1.0, 0.005, higher_is_better=False),
    "epochs_needed": Outcome("epochs to 95 % of the final accuracy", "epochs", 1.0, 0.5, higher_is_better=False),
    "seconds": Outcome("training time", "seconds", 1.0, None, higher_is_better=False),
}


@dataclass(frozen=True)
class Judgement:
    """What the pairs of one comparison say; numbers in the unit of the differences, nan where they cannot be had."""

    n: int
    ahead: int
    ties: int
    mean: float
    se: float
    low: float
    high: float
    p: float
    p_sign_flip: float
    p_holm: float
    p_equivalence: float
    verdict: str


def judge(
    samples: Sequence[ArrayLike],
    *,
    margin: float | None,
    resolution: float = 0.0,
    higher_is_better: bool = True,
    level: float = ALPHA,
    rejected: Sequence[bool] = (),
) -> list[Judgement]:
    """Judge the paired differences of all losses of one setting; they are one family.

    Args:
        samples: the differences of each loss, one array a loss.
        margin: smallest difference that matters, > 0; None: nothing is called slight or equivalent.
        resolution: 1 / number of test images for an accuracy; 0 for what is not counted.
        level: of the tests for a difference, over the family, and of the two one-sided tests of each loss; intervals
            have a coverage of 1 - `level`.
        rejected: losses that an earlier look has already found to differ: they leave Holm's correction to the others.

    Raises:
        ValueError: a margin that is not above 0, or differences that are not finite.
    """
    if margin is not None and not margin > 0:
        raise ValueError(f"margin={margin!r} must be greater than 0, in the unit of the scores")
    alone = [_measure(sample, margin, resolution, level) for sample in samples]
    p_values = np.array([row.p for row in alone])
    if len(rejected):
        p_values[np.asarray(rejected, dtype=bool)] = 0.0
    corrected = [replace(row, p_holm=float(p)) for row, p in zip(alone, holm(p_values), strict=True)]
    return [replace(row, verdict=_word(row, level, higher_is_better)) for row in corrected]


def judge_by_look(
    samples: Sequence[Sequence[float]], looks: Sequence[int] = LOOKS, **rule: Any
) -> list[tuple[int | None, Judgement]]:
    """Judge one family at each look, a loss only until its word is final.

    Args:
        samples: the differences of each loss in the order in which they were made.
        looks: ascending numbers of pairs.
        rule: `margin`, `resolution` and `higher_is_better` as in `judge`.

    Returns: for each loss the look that decided it (None while it is open) and its judgement at the last look taken;
        with fewer pairs than the first look, what they say without a word.
    """
    outcomes: list[tuple[int | None, Judgement] | None] = [None] * len(samples)
    for look in looks:
        rejected = [entry is not None and entry[0] is not None and entry[1].verdict != EQUIVALENT for entry in outcomes]
        judgements = judge([sample[:look] for sample in samples], **rule, level=LOOK_LEVEL, rejected=rejected)
        for i, (entry, judgement) in enumerate(zip(outcomes, judgements, strict=True)):
            if entry is None and judgement.n < look:
                outcomes[i] = None, replace(judgement, verdict=UNDECIDED)
            elif entry is None or (entry[0] is None and judgement.n == look):
                outcomes[i] = (None if judgement.verdict == UNDECIDED else look), judgement
    return [entry for entry in outcomes if entry is not None]


def _measure(sample: ArrayLike, margin: float | None, resolution: float, level: float) -> Judgement:
    """What the differences of one loss say before the others of its family are allowed for."""
    values = np.asarray(sample, dtype=float)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"differences must be finite and one-dimensional, got shape {values.shape}")
    n, mean = len(values), float(values.mean()) if len(values) else math.nan
    se = half = p = p_equivalence = math.nan
    if n > 1:
        # If one of n equal differences were off by one image, the standard error would be 1 / (m n).
        se = max(float(values.std(ddof=1)) / math.sqrt(n), resolution / n)
        if resolution > 0 or float(np.ptp(values)) > 1e-9 * float(np.abs(values).max()):
            half = t_quantile(1 - level / 2, n - 1) * se
            p = 2 * t_tail(abs(mean) / se, n - 1)
            p_equivalence = t_tail((margin - abs(mean)) / se, n - 1) if margin else math.nan
    counts = np.rint(values / resolution) if resolution else values
    return Judgement(
        n=n,
        ahead=int((counts > 0).sum()),
        ties=int((counts == 0).sum()),
        mean=mean,
        se=se,
        low=mean - half,
        high=mean + half,
        p=p,
        p_sign_flip=sign_flip_p(values) if n >= EXACT_PAIRS else math.nan,
        p_holm=math.nan,
        p_equivalence=p_equivalence,
        verdict=UNDECIDED,
    )


def _word(row: Judgement, level: float, higher_is_better: bool) -> str:
    differs, inside = row.p_holm < level, row.p_equivalence < level
    if row.n < LEAST_PAIRS or not (differs or inside):
        return UNDECIDED
    if not differs:
        return EQUIVALENT
    if (row.mean > 0) == higher_is_better:
        return SLIGHTLY_BETTER if inside else BETTER
    return SLIGHTLY_WORSE if inside else WORSE


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's correction over those p values that are there; nan stays nan.

    By hand, because `multipletests` of statsmodels collects garbage at each call, a tenth of a second.
    """
    corrected = np.array(p_values, dtype=float)
    ascending = [i for i in np.argsort(corrected) if np.isfinite(corrected[i])]
    steps = corrected[ascending] * np.arange(len(ascending), 0, -1)
    corrected[ascending] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def sign_flip_p(differences: ArrayLike) -> float:
    """Two-sided p value that + and - are equally likely: by all 2^n flips up to n = 12, by 9,999 random ones above."""
    values = np.asarray(differences, dtype=float)
    flips = _flips(len(values))
    reached = int((np.abs(flips @ values) >= abs(values.sum()) * (1 - 1e-12)).sum())
    observed = 0 if len(values) <= 12 else 1  # all flips hold the observed signs, random ones are given them
    return (reached + observed) / (len(flips) + observed)


@cache
def _flips(n: int) -> NDArray[Any]:
    """Signs to flip, a row a flip; the random ones are always the same, so that equal pairs give equal p values."""
    if n <= 12:
        return 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    return np.random.default_rng(0).choice((-1.0, 1.0), size=(9999, n))


def t_tail(t: float, df: float) -> float:
    """Chance that Student's t exceeds `t`."""
    from scipy.special import stdtr

    return float(stdtr(df, -t))


def t_quantile(share: float, df: float) -> float:
    """Quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(df, share))


COLUMNS = (
    *("setting", "dataset", "model", "probability", "loss", "label", "n", "ahead", "ties", "diverged", "at_chance"),
    *("unfinished", "mean", "low", "high", "p", "p_sign_flip", "p_holm", "p_equivalence", "margin", "verdict"),
    *("needed", "single_run_sd", "limits"),
)


def compare(
    runs: pd.DataFrame,
    metric: str = "test_accuracy",
    reference: str = REFERENCE,
    *,
    margin: float | None = None,
    tuned: Sequence[str] = (),
) -> pd.DataFrame:
    """Judge every loss against `reference`, setting by setting, by the rule at the top of this module.

    Runs are compared only within one setting: one study, data set, network, optimizer, learning rate and so on.

    Args:
        runs: what `load_runs` gives, of one or many studies.
        metric: a column of scores; `OUTCOMES` says how those of lossbench are read, others count as higher is better.
        margin: smallest difference that matters, in the unit of the column; None takes that of `OUTCOMES`.
        tuned: fields that each loss may have its own value of, such as `("lr",)`, because the study says so.

    Returns: a row a loss, probability function and setting: `COLUMNS`, then `study` and the fields of the setting as
        far as `runs` has them. The loss is `ahead` (above 0) in so many of `n` pairs and equal in `ties`; `diverged`
        and `at_chance` count its runs, `unfinished` those of both sides whose best epoch is their last; `mean`, `low`,
        `high` (95 %) and `margin` are in the unit of the column;
        `p_holm` is corrected over the losses of the setting; `verdict` is one of `VERDICTS`, `same function` or `not
        learned`; `needed` is the number of pairs that would decide what is undecided; `single_run_sd` is the spread of
        the difference of two single runs of the reference under different seeds, which is what a comparison without
        pairs would have seen; `limits` names what keeps the comparison from saying more.

    Raises:
        ValueError: two runs compete for one place, a metric that is no column, or a margin that is not above 0.
    """
    import pandas as pd

    families = _families(runs, metric, reference, margin, tuned)
    return pd.DataFrame([row for family in families for row in family.rows()], columns=_columns(runs))


def sequential(
    runs: pd.DataFrame,
    metric: str = "test_accuracy",
    reference: str = REFERENCE,
    *,
    margin: float | None = None,
    tuned: Sequence[str] = (),
    looks: Sequence[int] = LOOKS,
) -> pd.DataFrame:
    """Judge as `compare` does, but after 5, 10, 20 and 40 pairs, and each loss only until its word is final.

    Seeds enter in ascending order; pairs between two looks are not looked at. The levels of the looks are chosen by
    simulation (`benchmarks/calibration.csv`) so that the whole procedure keeps an error of 0.05; intervals have the
    coverage of their look.

    Returns: the columns of `compare`, judged at the last look that a loss took, and `look`: the number of pairs at
        which its word was decided, missing while it is open.
    """
    import pandas as pd

    if not looks or list(looks) != sorted(set(looks)) or looks[0] < LEAST_PAIRS:
        raise ValueError(f"looks={list(looks)} must be ascending numbers of pairs, {LEAST_PAIRS} or more")
    families = _families(runs, metric, reference, margin, tuned)
    rows = [row for family in families for row in family.rows(looks)]
    return pd.DataFrame(rows, columns=[*_columns(runs), "look"]).astype({"look": "Int64"})


def paired_differences(
    runs: pd.DataFrame, metric: str = "test_accuracy", reference: str = REFERENCE, *, tuned: Sequence[str] = ()
) -> pd.DataFrame:
    """`metric` minus that of `reference` under the same setting, probability function and seed.

    Returns: a row a pair, columns `setting`, `dataset`, `model`, `probability`, `loss`, `label`, `seed`, `difference`.
        A run without a finished partner has no row.

    Raises: as `compare`.
    """
    import pandas as pd

    columns = ["setting", "dataset", "model", "probability", "loss", "label", "seed", "difference"]
    rows = [
        {**family.names, **cell.names, "seed": seed, "difference": difference}
        for family in _families(runs, metric, reference, None, tuned)
        for cell in family.cells
        for seed, difference in cell.pairs.items()
    ]
    return pd.DataFrame(rows, columns=columns)


@dataclass(frozen=True)
class _Side:
    """The runs of one loss under one probability function; what several comparisons ask of it is worked out once."""

    label: str
    runs: pd.DataFrame
    metric: str

    @cached_property
    def ended(self) -> pd.DataFrame:
        return self.runs[self.runs["status"] == "finished"]

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """The scores of the runs that ended, finite or not."""
        return np.asarray(self.ended[self.metric].astype(float))

    @cached_property
    def seeds(self) -> list[int]:
        return list(self.runs["seed"].astype(int))

    @cached_property
    def by_seed(self) -> dict[int, float]:
        """The finite scores."""
        if len(set(self.seeds)) < len(self.seeds):
            row = self.runs[self.runs["seed"].duplicated()].iloc[0]
            raise ValueError(
                f"{row['label']!r} with {row['probability']} and seed {row['seed']} is there more than once in one "
                "setting: leave one of them out, or name the fields in which they differ in a column of their own"
            )
        scores = zip(self.ended["seed"].astype(int), map(float, self.values), strict=True)
        return {seed: score for seed, score in scores if math.isfinite(score)}

    @property
    def diverged(self) -> int:
        return len(self.runs) - len(self.ended)

    @cached_property
    def at_chance(self) -> int:
        return at_chance(self.runs)

    @cached_property
    def unfinished(self) -> int:
        """How many runs that ended were best in their last epoch; 0 where the table does not say."""
        return int(is_last_best(self.ended).sum()) if {"best_epoch", "epochs"} <= set(self.ended) else 0

    @cached_property
    def spread(self) -> float:
        return single_run_spread(self.runs, self.metric)

    def limits(self) -> Iterator[str]:
        """Runs that say nothing, or less."""
        for count, what in (
            (self.diverged, "diverged"),
            (int((~np.isfinite(self.values)).sum()), f"have no finite {self.metric}"),
            (self.at_chance, "stayed at chance"),
        ):
            if count:
                yield f"{count} of {len(self.runs)} runs of {self.label} {what}"


@dataclass(frozen=True)
class _Cell:
    """One loss under one probability function: its runs, the reference's, and the differences by ascending seed."""

    names: dict[str, str]  # probability, loss, label
    own: _Side
    partners: _Side
    pairs: Mapping[int, float]
    same_function: bool


@dataclass(frozen=True)
class _Family:
    """All comparisons of one study and setting, which are corrected together."""

    setting: Setting
    metric: str
    outcome: Outcome
    reference: str
    margin: float | None
    tuned: Sequence[str]
    cells: list[_Cell]

    @property
    def names(self) -> dict[str, Any]:
        fields = self.setting.fields
        return {"setting": self.setting.name, "dataset": fields.get("dataset"), "model": fields.get("model")}

    @property
    def resolution(self) -> float:
        images = self.setting.runs.get("test_images")
        if not self.outcome.counts_images or images is None or not images.notna().any():
            return 0.0
        return 1 / float(images.dropna().astype(float).min())

    def rows(self, looks: Sequence[int] = ()) -> Iterator[dict[str, Any]]:
        """A row a cell, with `looks` as it stood at the last one that the cell took."""
        better = self.outcome.higher_is_better
        rule: dict[str, Any] = {"margin": self.margin, "resolution": self.resolution, "higher_is_better": better}
        for cells in self._judged_together():
            samples = [list(cell.pairs.values()) for cell in cells]
            judged = judge_by_look(samples, looks, **rule) if looks else [(None, row) for row in judge(samples, **rule)]
            for cell, (look, judgement) in zip(cells, judged, strict=True):
                row = self._row(cell, judgement, len(cells))
                if looks and judgement.n < looks[0]:
                    row["limits"] = "; ".join(filter(None, [row["limits"], f"the first look is at {looks[0]} pairs"]))
                yield {**row, "look": None if row["verdict"] in (UNDECIDED, SAME_FUNCTION, NOT_LEARNED) else look}

    def _judged_together(self) -> Iterator[list[_Cell]]:
        """The losses of each probability function; then each twin of the reference, which corrects nobody."""
        losses = [cell for cell in self.cells if not cell.same_function]
        for probability in dict.fromkeys(cell.names["probability"] for cell in losses):
            yield [cell for cell in losses if cell.names["probability"] == probability]
        yield from ([cell] for cell in self.cells if cell.same_function)

    def _row(self, cell: _Cell, judgement: Judgement, comparisons: int) -> dict[str, Any]:
        own, partners = cell.own, cell.partners
        unlearned = why_runs_not_learned(own.runs, partners.runs)
        word = NOT_LEARNED if unlearned else UNDECIDED if own.diverged else judgement.verdict
        verdict = SAME_FUNCTION if cell.same_function else word
        sd = judgement.se * math.sqrt(judgement.n)
        open_question = verdict == UNDECIDED and not own.diverged
        return {
            **self.setting.fields,
            **self.names,
            **cell.names,
            **vars(judgement),
            "diverged": own.diverged,
            "at_chance": own.at_chance,
            "unfinished": own.unfinished + partners.unfinished,
            "margin": math.nan if self.margin is None else self.margin,
            "verdict": verdict,
            "needed": pairs_needed(judgement.mean, sd, self.margin, comparisons) if open_question else math.nan,
            "single_run_sd": partners.spread,
            "limits": "; ".join(dict.fromkeys(filter(None, [unlearned, *self._limits(cell, judgement)]))),
        }

    def _limits(self, cell: _Cell, judgement: Judgement) -> Iterator[str]:
        """What keeps a comparison from saying more."""
        yield from cell.own.limits()
        yield from cell.partners.limits()
        if not cell.partners.seeds:
            yield f"no run of {self.reference} under {cell.names['probability']}"
        unpaired = {*cell.own.seeds} ^ {*cell.partners.seeds}
        if unpaired and judgement.n:
            yield f"seeds without a partner: {', '.join(map(str, sorted(unpaired)))}"
        if judgement.n < LEAST_PAIRS:
            yield f"{judgement.n} pair{'' if judgement.n == 1 else 's'}, a word takes {LEAST_PAIRS}"
        elif not math.isfinite(judgement.p):
            yield "all differences are equal, and nothing says how finely the score is counted"
        for name in self.tuned:
            own, others = (_values(side.runs, name) for side in (cell.own, cell.partners))
            if own != others:
                yield f"{name} {', '.join(own)} against {', '.join(others)}"
        if _judged_by_class_mean(str(cell.names["loss"])) and self.metric == "test_accuracy":
            yield "classified by the nearest class mean, cross-entropy by its trained head"


def _outcome_of(metric: str) -> Outcome:
    """How a column of scores is read: lossbench's own, a registered metric, or any other: higher is better."""
    from lossbench.stats.metrics import METRICS

    registered = METRICS.get(metric.removeprefix("test_"))
    return OUTCOMES.get(metric, Outcome(metric, higher_is_better=registered is None or registered.higher_is_better))


_READ = ("study", "label", "status", "test_accuracy", "test_images", "best_epoch", "epochs_done")  # beside the config


def _families(
    runs: pd.DataFrame, metric: str, reference: str, margin: float | None, tuned: Sequence[str]
) -> Iterator[_Family]:
    if metric not in runs:
        raise ValueError(f"there is no column {metric!r} of scores; there are {', '.join(map(str, runs.columns))}")
    outcome = _outcome_of(metric)
    margin = outcome.margin if margin is None else margin
    read = {*RunConfig.defaults(), *_READ, metric}
    runs = runs[[name for name in runs if name in read]]  # a table of runs is wide, and each part of it a copy,
    runs.attrs = {}  # with copies of these
    studies = runs.groupby("study", sort=False) if "study" in runs else [("", runs)]
    for study, part in studies:
        for setting in settings(merge_idle(part), tuned):
            setting.fields["study"] = study
            yield _Family(setting, metric, outcome, reference, margin, tuned, _cells(setting, metric, reference))


def _cells(setting: Setting, metric: str, reference: str) -> list[_Cell]:
    table = setting.runs.assign(probability=probability_labels(setting.runs))
    others = table["loss"] == reference
    nobody = _Side(reference, table[:0], metric)
    partners = {
        str(name): _Side(reference, runs, metric) for name, runs in table[others].groupby("probability", sort=False)
    }
    cells = []
    for key, runs in table[~others].groupby(["probability", "loss", "label"], sort=False):
        names = dict(zip(("probability", "loss", "label"), map(str, key), strict=True))
        own, other = _Side(names["label"], runs, metric), partners.get(names["probability"], nobody)
        shared = sorted(own.by_seed.keys() & other.by_seed.keys())
        pairs = {seed: own.by_seed[seed] - other.by_seed[seed] for seed in shared}
        cells.append(_Cell(names, own, other, pairs, {names["loss"], reference} <= set(TWINS)))
    return cells


def _columns(runs: pd.DataFrame) -> list[str]:
    """The columns of a comparison: its own, then those that tell its setting."""
    fields = ["study"] * ("study" in runs) + setting_fields(runs)
    return [*COLUMNS, *(name for name in fields if name not in COLUMNS)]


def _values(runs: pd.DataFrame, name: str) -> list[str]:
    return sorted({f"{value:g}" if isinstance(value, float) else str(value) for value in runs[name]})


def _judged_by_class_mean(loss: str) -> bool:
    from lossbench.losses.catalogue import LOSSES

    return loss in LOSSES and "embeddings" in LOSSES[loss].tensors


def single_run_spread(runs: pd.DataFrame, metric: str = "test_accuracy") -> float:
    """Standard deviation of the difference of two runs of one configuration under different seeds; nan for one run.

    What a paper that runs each loss once takes for a difference between losses. Pass runs of one configuration.
    """
    scores = finished(runs, metric)[metric].astype(float)
    return math.sqrt(2) * float(scores.std(ddof=1)) if len(scores) > 1 else math.nan


def same_seed_differences(runs: pd.DataFrame, metric: str = "test_accuracy") -> list[float]:
    """KL divergence minus cross-entropy under the same seed: exactly 0 as long as nothing else differs."""
    pairs = paired_differences(runs[runs["loss"].isin(TWINS)], metric)
    return [float(value) for value in pairs["difference"]]


def pairs_needed(mean: float, sd: float, margin: float | None, comparisons: int = 1, power: float = 0.8) -> float:
    """Pairs that would decide with probability `power` if the truth were `mean`: a difference, or equivalence.

    Args:
        sd: standard deviation of one paired difference.
        comparisons: of the family; the level of the difference is divided by it.

    Returns: a whole number of pairs; nan where neither would be decided with a million, or without a spread.
    """
    if not sd > 0:
        return math.nan
    needed = []
    if abs(mean) > 2e-3 * sd:
        needed.append(sample_size(mean, sd, ALPHA, power, comparisons))
    if margin is not None and abs(mean) < margin and margin - abs(mean) > 2e-3 * sd:
        needed.append(sample_size_equivalence(mean, sd, margin, ALPHA, power))
    return float(max(LEAST_PAIRS, min(needed))) if needed else math.nan


# What a number of seeds can show: power, smallest effect in reach, seeds needed. Paired two-sided t-test.

PLAN_COLUMNS = (
    *("setting", "dataset", "model", "probability", "loss", "label", "n", "sd", "sd_high"),
    *("pairs_difference", "pairs_equivalence", "pairs", "pairs_high", "seconds", "hours", "cost"),
)


def power(effect: float, sd: float, n: int, alpha: float = 0.05, comparisons: int = 1) -> float:
    """Probability to find a true mean difference `effect` with `n` pairs.

    Args:
        effect: in units of the metric, such as 0.005 for half a point of accuracy.
        sd: standard deviation of one paired difference, such as that of `paired_differences`.
        alpha: chance of a false alarm over all `comparisons` (Bonferroni).
    """
    from scipy import stats
    from statsmodels.stats.power import TTestPower

    _check(sd, n, alpha, comparisons)
    value = float(TTestPower().power(abs(effect) / sd, n, alpha / comparisons))
    if n > 1 and math.isnan(value):  # scipy's noncentral t knows no large effects: the integral over the spread does
        scale, shift = (
            stats.t.ppf(1 - alpha / comparisons / 2, n - 1) / math.sqrt(n - 1),
            abs(effect) / sd * math.sqrt(n),
        )
        value = min(1.0, stats.chi(n - 1).expect(lambda spread: stats.norm.sf(scale * spread - shift)))
    return value


def minimum_detectable_effect(
    sd: float, n: int, alpha: float = 0.05, target_power: float = 0.8, comparisons: int = 1
) -> float:
    """Smallest true mean difference that `n` pairs find with probability `target_power`; nan for one pair."""
    from statsmodels.stats.power import TTestPower

    _check(sd, n, alpha, comparisons)
    if n < 2:
        return math.nan
    solved = TTestPower().solve_power(nobs=n, alpha=alpha / comparisons, power=target_power)
    return sd * float(np.squeeze(solved))


def sample_size(effect: float, sd: float, alpha: float = 0.05, target_power: float = 0.8, comparisons: int = 1) -> int:
    """Pairs of seeds needed to find a true mean difference `effect` with probability `target_power`."""
    _check(sd, 2, alpha, comparisons)
    if effect == 0:
        raise ValueError("effect=0 needs infinitely many seeds; state the smallest difference that matters")
    return _fewest(
        abs(effect) / sd, alpha / comparisons / 2, target_power, lambda n: power(effect, sd, n, alpha, comparisons)
    )


def sample_size_equivalence(
    effect: float, sd: float, margin: float, alpha: float = 0.05, target_power: float = 0.8
) -> int:
    """Pairs of seeds needed for two one-sided t tests to place a true mean difference `effect` inside +-`margin`."""
    from scipy import stats

    _check(sd, 2, alpha, 1)
    if not abs(effect) < margin:
        raise ValueError(f"effect={effect!r} must lie inside the margin of {margin!r}")

    def reached(n: int) -> float:
        bound, root = stats.t.isf(alpha, n - 1), math.sqrt(n) / sd
        return float(sum(stats.nct.sf(bound, n - 1, (margin + sign * effect) * root) for sign in (1, -1)) - 1)

    return _fewest((margin - abs(effect)) / sd, alpha, target_power, reached)


def plan(
    pilot: pd.DataFrame,
    difference: float | None = None,
    metric: str = "test_accuracy",
    reference: str = REFERENCE,
    *,
    target_power: float = 0.8,
    price: float | None = None,
) -> pd.DataFrame:
    """What it takes, for each loss of a pilot, to tell a difference of `difference` from none with `target_power`.

    Args:
        pilot: what `load_runs` gives, the runs of one study with at least three pairs of each loss.
        difference: in the unit of the column; None takes the margin of `OUTCOMES`.
        price: of an hour of one core.

    Returns: a row a loss, columns `PLAN_COLUMNS`. `sd` is the spread of the `n` paired differences of the pilot, and
        `sd_high` its upper 80 % limit. `pairs_difference` find a true difference of `difference` (level 0.05 over the
        losses of the setting), `pairs_equivalence` place a true difference of 0 inside +-`difference`; `pairs` do both,
        and `pairs_high` if the spread is `sd_high`. `seconds` are those of a pair in the pilot, on one core; `hours` of
        one core and `cost` are for all `pairs`. nan with fewer than three pairs.

    Raises: ValueError for a difference that is not above 0, or an outcome without a margin.
    """
    import pandas as pd

    outcome = OUTCOMES.get(metric)
    difference = outcome.margin if difference is None and outcome else difference
    if difference is None or not difference > 0:
        raise ValueError(f"difference={difference!r} must be greater than 0, in the unit of {metric}")
    rows = []
    for setting in settings(merge_idle(pilot)):
        rows += _plan_setting(setting, difference, metric, reference, target_power)
    table = pd.DataFrame(rows, columns=PLAN_COLUMNS)
    return table.assign(hours=table["pairs"] * table["seconds"] / 3600).assign(
        cost=lambda t: t["hours"] * (math.nan if price is None else price)
    )


def _plan_setting(
    setting: Setting, difference: float, metric: str, reference: str, target_power: float
) -> list[dict[str, Any]]:
    from scipy import stats

    pairs = paired_differences(setting.runs, metric, reference)
    pairs = pairs[[not {loss, reference} <= set(TWINS) for loss in pairs["loss"]]]
    counted = metric in OUTCOMES and OUTCOMES[metric].counts_images and "test_images" in setting.runs
    resolution = 1 / float(setting.runs["test_images"].min()) if counted else 0.0
    runs = setting.runs.assign(probability=probability_labels(setting.runs))
    core_seconds = (runs["seconds"] * runs.get("threads", 1)).groupby([runs["probability"], runs["label"]]).mean()
    seconds: dict[Any, float] = core_seconds.to_dict()
    beside = next(iter(runs.loc[runs["loss"] == reference, "label"]), "")
    names = {"setting": setting.name, **{name: setting.fields.get(name) for name in ("dataset", "model")}}
    rows: list[dict[str, Any]] = []
    for key, sample in pairs.groupby(["probability", "loss", "label"], sort=False):
        (probability, loss, label), n = map(str, key), len(sample)
        row: dict[str, Any] = {**names, "probability": probability, "loss": loss, "label": label, "n": n}
        row["seconds"] = seconds[probability, label] + seconds[probability, beside]
        if n >= LEAST_PAIRS:
            comparisons = pairs.loc[pairs["probability"] == probability, "label"].nunique()
            (judgement,) = judge([sample["difference"]], margin=None, resolution=resolution)
            row["sd"] = judgement.se * math.sqrt(n)
            row["sd_high"] = row["sd"] * math.sqrt((n - 1) / stats.chi2.ppf(0.2, n - 1))
            both, high = (_pairs_for(difference, row[sd], target_power, comparisons) for sd in ("sd", "sd_high"))
            row |= dict(zip(("pairs_difference", "pairs_equivalence"), both, strict=True))
            row |= {"pairs": max(both), "pairs_high": max(high)}
        rows.append(row)
    return rows


def _pairs_for(difference: float, sd: float, target_power: float, comparisons: int) -> tuple[int, int]:
    """To find the difference, and to show that there is none as large."""
    if not sd > 0:
        return LEAST_PAIRS, LEAST_PAIRS
    differs = sample_size(difference, sd, target_power=target_power, comparisons=comparisons)
    same = sample_size_equivalence(0.0, sd, difference, target_power=target_power)
    return max(LEAST_PAIRS, differs), max(LEAST_PAIRS, same)


def _fewest(standardised: float, tail: float, target_power: float, reached: Callable[[int], float]) -> int:
    """The smallest n whose power reaches the target; power must grow with n."""
    from scipy import stats

    # The normal distribution needs a little less than Student's t: double from there, then halve the gap.
    low = max(1, math.ceil((float(stats.norm.isf(tail) + stats.norm.ppf(target_power)) / standardised) ** 2) - 1)
    step = 1
    while reached(low + step) < target_power:
        low, step = low + step, 2 * step
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if reached(middle) < target_power else (low, middle)
    return high


def _check(sd: float, n: int, alpha: float, comparisons: int) -> None:
    if not sd > 0:
        raise ValueError(f"sd={sd!r} must be greater than 0")
    if n < 1 or comparisons < 1:
        raise ValueError(f"n={n!r} and comparisons={comparisons!r} must be at least 1")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha!r} must lie in (0, 1)")
