"""How a claim is decided: one rule for all that are decided by runs.

Every number comes from `stats`: differences paired by seed and judged by `stats.judge` on one data set, pooled over
data sets with weights by precision (`stats.pooled`). A claim names the values that it allows, above a bound or within a
margin, and often makes several contrasts, such as "better than each rival"; then all of them must hold.

- **supported**: every interval lies among the allowed values; "within" must hold on every data set;
- **contradicted**: some interval lies wholly outside, in a setting that the claim is about;
- **undecided**: neither, or the runs decide and something else speaks against saying so: see below;
- **not tested**: no pair of runs that the claim is about.

Both verdicts are held to 0.05 for each paper as a whole: the p values of its claims are corrected by Holm. What the
runs say stays undecided where

- runs diverged, or data sets show opposite effects;
- the loss is our reconstruction because the paper's formula is lost: it decides nothing about the original;
- the claim is about trained networks, and more than half of the runs against it had their best epoch last. A network
  that is still improving supports a claim for the budget that it had, but refutes none about trained ones;
- the claim is that some setting has a property, and this one has not;
- the runs against it trained a last layer on fixed features, where the claim is about networks.

Runs are of two kinds, and a claim is judged in each apart: *untuned*, with one learning rate for all losses, and
*tuned*, the finals of studies in which each loss was tuned with the same budget. Of those, a difference is averaged
within each tuning study, so that the interval holds the luck of tuning. Holm's correction is for each kind by itself.

Before all that, a setting counts only if a network has learned its task there (`stats.learned`) and no side
stayed at chance. Every verdict by runs is about the networks and budgets that it names: "here".
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from lossbench.claims.contrasts import Comparison, Contrast, Row, Tables, compare, is_unfinished
from lossbench.data.yardsticks import belongs
from lossbench.stats.paired import ALPHA, OUTCOMES, holm, judge, pairs_needed, sample_size_equivalence

THESIS, ADMA = "14_thesis", "15_adma"
SAMPLING, FALSE_POSITIVE = "16_sampling_free", "17_false_positive_loss"
LAYERS = "18_hierarchical_loss"
NOTEBOOKS = (THESIS, ADMA, SAMPLING, FALSE_POSITIVE, LAYERS)

RUNS, MATHEMATICS, PRINTED = "runs", "mathematics", "printed table"
SLIPS = "slips in print"
GROUPS = (RUNS, MATHEMATICS, PRINTED, SLIPS)  # never summed over


@dataclass(frozen=True)
class Paper:
    """A paper: its short name, the families of data sets it measured on, how it trained, and where to find it.

    The five papers of this package have numbers and no `source`.
    """

    name: str
    datasets: tuple[str, ...]
    trained: str
    source: str = ""


PAPERS = {
    "000": Paper("thesis", ("fashion-mnist", "cifar-10", "kmnist"), "a pretrained ResNet50, up to 75 epochs"),
    "001": Paper(
        "Adma",
        ("mnist", "fashion-mnist", "cifar-10", "cifar-100", "flowers", "ham10000", "svhn", "dogs-vs-cats"),
        "a convolutional network of its own, all images, 50 to 170 epochs",
    ),
    "002": Paper("sampling-free loss", ("cifar-10", "cifar-100", "fashion-mnist"), "GoogLeNet and ResNets, 70 epochs"),
    "003": Paper("False Positive Loss", ("cifar-10",), "EfficientNetV2 and ResNets, all images, 10 to 200 epochs"),
    "004": Paper("Loss in Layers", ("cifar-10",), "a network that it does not name, until convergence"),
    # Well-known papers of the field, whose claims stand beside those of the five.
    "hui-2020": Paper(
        "square loss", ("mnist", "cifar-10", "imagenet"), "residual networks and others, trained whole",
        "Hui and Belkin 2020, arXiv:2006.07322",
    ),
    "draeger-2022": Paper(
        "KL divergence", (), "networks of its own", "Dräger and Dunkelau 2022, arXiv:2210.16003"
    ),
    "mueller-2019": Paper(
        "label smoothing", ("mnist", "cifar-10", "cifar-100", "imagenet"), "convolutional networks trained whole",
        "Müller, Kornblith and Hinton 2019, arXiv:1906.02629",
    ),
    "kornblith-2021": Paper(
        "losses and transfer", ("imagenet",), "ResNet50, then linear classifiers on eight other data sets",
        "Kornblith, Chen, Lee and Norouzi 2021, arXiv:2010.16402",
    ),
    "wightman-2021": Paper(
        "binary cross-entropy", ("imagenet",), "ResNet50 with mixed images, 100 to 600 epochs",
        "Wightman, Touvron and Jégou 2021, arXiv:2110.00476",
    ),
    "mukhoti-2020": Paper(
        "focal loss, calibration", ("cifar-10", "cifar-100", "tiny-imagenet"), "residual and dense networks",
        "Mukhoti et al. 2020, arXiv:2002.09437",
    ),
    "zhang-2018": Paper(
        "generalised cross-entropy", ("fashion-mnist", "cifar-10", "cifar-100"), "residual networks",
        "Zhang and Sabuncu 2018, arXiv:1805.07836",
    ),
    "wang-2019": Paper(
        "symmetric cross-entropy", ("mnist", "cifar-10", "cifar-100"), "convolutional and residual networks",
        "Wang et al. 2019, arXiv:1908.06112",
    ),
    "menon-2020": Paper(
        "logit adjustment", ("cifar-10", "cifar-100", "imagenet", "inaturalist"), "residual networks",
        "Menon et al. 2020, arXiv:2007.07314",
    ),
    "leng-2022": Paper("Poly-1", ("imagenet",), "ResNet50 and EfficientNetV2", "Leng et al. 2022, arXiv:2204.12511"),
    "hui-2023": Paper(
        "squentropy", ("mnist", "cifar-10", "cifar-100", "svhn"), "residual networks and others",
        "Hui, Belkin and Wright 2023, arXiv:2302.03952",
    ),
}  # fmt: skip
FIVE = tuple(key for key, paper in PAPERS.items() if not paper.source)


@dataclass(frozen=True)
class Place:
    """Where the figure of a claim stands: its notebook, and the ending of its name on a report's page, "" for none."""

    notebook: str
    ending: str = ""


FIGURES = {
    "ce-equals-kl": Place(THESIS, "differences"),
    "thesis-accuracy": Place(THESIS, "differences"),
    "thesis-epochs": Place(THESIS, "epochs"),
    "thesis-probabilities": Place(THESIS, "heat"),
    "thesis-tables": Place(THESIS, "published-000"),
    "thesis-confusion": Place(THESIS, "confusion"),
    "adma-curves": Place(ADMA),
    "adma-tables": Place(ADMA, "published-001"),
    "adma-accuracy": Place(ADMA, "differences"),
    "adma-learning": Place(ADMA, "curves"),
    "adma-exponent": Place(ADMA, "differences"),
    "adma-fractions": Place(ADMA, "differences"),
    "sampling-shape": Place(SAMPLING),
    "sampling-sweeps": Place(SAMPLING, "differences"),
    "sampling-comparison": Place(SAMPLING, "differences"),
    "fpl-shape": Place(FALSE_POSITIVE),
    "fpl-tables": Place(FALSE_POSITIVE, "published-003"),
    "fpl-accuracy": Place(FALSE_POSITIVE, "differences"),
    "fpl-imbalance": Place(FALSE_POSITIVE, "imbalance-1"),
    "layers-accuracy": Place(LAYERS, "differences"),
    "layers-mistakes": Place(LAYERS, "severity"),
    "layers-algebra": Place(LAYERS),
}


@dataclass(frozen=True)
class Claim:
    """One statement of a paper and how it is decided.

    Args:
        key: a stable name, such as `thesis-js-least-accurate`.
        paper: a key of `PAPERS`.
        place: where it stands in the paper.
        says: the statement in our words.
        rule: what decides it.
        figure: a key of `FIGURES`, which also names the notebook; empty for a claim of the field, which has none.
        printed: the paper's own numbers, as text; empty if it gives none.
        reconstruction: what of the paper's method we had to guess, or how a word of it was read; empty if nothing.
        slip: whether it is about copying and arithmetic in print, and not about losses.
    """

    key: str
    paper: str
    place: str
    says: str
    rule: Rule
    figure: str = ""
    printed: str = ""
    reconstruction: str = ""
    slip: bool = False

    @property
    def notebook(self) -> str:
        """The notebook that shows the figure; empty without one."""
        return FIGURES[self.figure].notebook if self.figure else ""

    @property
    def group(self) -> str:
        """One of `GROUPS`: what decides the claim, and slips in print apart."""
        return SLIPS if self.slip else self.rule.kind


SUPPORTED, CONTRADICTED, UNDECIDED, NOT_TESTED = "supported", "contradicted", "undecided", "not tested"
VERDICTS = (SUPPORTED, CONTRADICTED, UNDECIDED, NOT_TESTED)
UNTUNED, TUNED = "untuned", "tuned"
REGIMES = (UNTUNED, TUNED)
MOSTLY = 0.5
MORE_SEEDS, FORMULA = "more seeds", "the paper's formula"
HEAD_ONLY = "head"  # of `RunConfig.trainable`
OF_THE_START = "first_epoch_accuracy"  # the end of training takes nothing away from it


@dataclass(frozen=True)
class Compared:
    """Decided by runs: the values that every contrast may have; made by `above` and `within`.

    Args:
        contrasts: each the better side minus the worse, in the direction of its score.
        low, high: the allowed values; without a `high` it is a claim of "better", and -inf as `low` stands for the
            margin of `evaluate`.
        everywhere: whether they must hold on each data set by itself, in place of the pooled mean.
        size: the size that the claim states; an interval wholly below it contradicts the claim.
        readings: whether each contrast is one reading of the claim, so that it falls only if it falls in all.
        exists: whether the claim is that some setting has the property, which a setting that fails does not refute.
        rebuilt: whether the loss is our reconstruction because the paper's formula is lost.
        tuned: the contrasts on tuned losses, whose own parameters were searched; True for the same ones, empty where a
            claim is about something that tuning sets, such as one exponent.
    """

    contrasts: tuple[Contrast, ...]
    low: float = 0.0
    high: float = math.inf
    everywhere: bool = False
    size: float | None = None
    readings: bool = False
    exists: bool = False
    rebuilt: bool = False
    tuned: tuple[Contrast, ...] | bool = ()

    kind = RUNS

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        if math.isfinite(self.high):
            return f"within ±{self.high:g}"
        return "within the margin" if math.isinf(self.low) else f"above {self.low:g}"

    @property
    def words(self) -> str:
        """The test in words."""
        size = "" if self.size is None else f", and not below {self.size:g}"
        place = " on every data set" if self.everywhere else ""
        return f"paired by seed, {self.allowed}{size}{place}: {'; '.join(c.says for c in self.contrasts)}"

    def of_tuned(self) -> Compared:
        """The same rule for tuned losses."""
        return replace(self, contrasts=self.contrasts if self.tuned is True else self.tuned or ())

    def judge(self, rows: Sequence[Row], margin: float) -> Finding:
        """Compare the runs."""
        rule = replace(self, low=-margin, high=margin) if math.isinf(self.low) else self
        comparisons = [compare(contrast, rows) for contrast in self.contrasts]
        limits = _limits(comparisons)
        if self.everywhere:  # one without any data set stays, so that it is missed
            comparisons = [part for whole in comparisons for part in whole.by_data_set() or [whole]]
        p_values = [rule.p_values(comparison) for comparison in comparisons]
        support, contradict = zip(*p_values, strict=True)
        return Finding(rule, tuple(comparisons), support, contradict, limits)

    def p_values(self, comparison: Comparison) -> tuple[float, float]:
        """That the truth is allowed, and that it is not; nan without an interval."""
        mean = comparison.pooled
        if mean is None:
            return math.nan, math.nan
        if math.isfinite(self.high):
            outside = 2 * min(mean.p_above(self.high), mean.p_below(self.low))
            return max(mean.p_above(self.low), mean.p_below(self.high)), min(1.0, outside)
        against = min(1.0, 2 * mean.p_below(self.low if self.size is None else self.size))
        short = self.size is not None and against < ALPHA  # above the bound and clearly below the size is no support
        return 1.0 if short else min(1.0, 2 * mean.p_above(self.low)), against


def above(*contrasts: Contrast, bound: float = 0.0, **options: Any) -> Compared:
    """Every contrast is above a bound: 0 for "better", less for "not behind by more than"."""
    return Compared(contrasts, low=bound, **options)


def within(*contrasts: Contrast, margin: float = math.inf, **options: Any) -> Compared:
    """Every contrast lies within a margin of 0 on every data set, or differences that cancel would pass for none."""
    return Compared(contrasts, low=-margin, high=margin, everywhere=True, **options)


@dataclass(frozen=True)
class Finding:
    """What the runs say about a claim before the paper's other claims are allowed for.

    `support` and `contradict` are p values of each comparison for either verdict, nan where it has no interval.
    """

    rule: Compared
    comparisons: tuple[Comparison, ...]
    support: tuple[float, ...]
    contradict: tuple[float, ...]
    limits: tuple[str, ...]

    @property
    def p_support(self) -> float:
        """All contrasts must hold."""
        return max(self.support) if np.isfinite(self.support).all() else 1.0

    @property
    def p_contradict(self) -> float:
        """One contrast is enough against the claim, or all are needed if each is one reading of it."""
        if self.rule.readings:
            return max(self.contradict) if np.isfinite(self.contradict).all() else 1.0
        known = [p for p in self.contradict if math.isfinite(p)]
        return min(1.0, len(known) * min(known)) if known else 1.0

    @property
    def p(self) -> float:
        """p value of the claim as a whole; nan without an interval."""
        return min(self.p_support, self.p_contradict) if np.isfinite(self.contradict).any() else math.nan

    def decide(self, p_family: float) -> tuple[str, Comparison, str, str]:
        """The verdict, its comparison, why, and what would decide it but more pairs; `p_family` is corrected."""
        without_pairs = "; ".join(dict.fromkeys(c.contrast.runs for c in self.comparisons if not c.samples))
        paired = [comparison for comparison in self.comparisons if comparison.samples]
        if not paired:
            return NOT_TESTED, self.comparisons[0], "there is no pair of runs that the claim is about", without_pairs
        if math.isnan(p_family):
            return UNDECIDED, paired[0], "no spread over seeds, so no interval", MORE_SEEDS
        against = self.p_contradict < self.p_support
        weakest, opposed = int(np.nanargmax(self.support)), int(np.nanargmin(self.contradict))
        decisive = self.comparisons[opposed if against and self.p < ALPHA else weakest]
        if p_family >= ALPHA:
            corrected = "the interval alone would decide, but not after Holm's correction"
            why = corrected if self.p < ALPHA else f"unclear whether it is {self.rule.allowed}"
            return UNDECIDED, decisive, why, FORMULA if self.rule.rebuilt else without_pairs
        verdict = CONTRADICTED if against else SUPPORTED
        why = f"the interval is not {self.rule.allowed}" if against else f"every interval is {self.rule.allowed}"
        if against and self.rule.size is not None:
            why = f"the interval lies below the claimed {self.rule.size:g}"
        doubt, remedy = self._doubt(decisive, against)
        return (UNDECIDED, decisive, f"{why}, but {doubt}", remedy) if doubt else (verdict, decisive, why, "")

    def _doubt(self, decisive: Comparison, against: bool) -> tuple[str, str]:
        """Why a verdict is withheld although the intervals would give it, and what would help; empty if it is not."""
        checked = (decisive,) if against else self.comparisons
        runs = _runs(checked)
        last = sum(map(is_unfinished, runs))
        if not all(row["ended"] for row in runs):
            return "runs diverged", "runs that end"
        if self.rule.rebuilt:
            return "the loss is our reconstruction, which decides nothing about the paper's own", FORMULA
        if against and self.rule.exists:
            return "the claim is that some setting exists, and this is one", "another setting"
        if against and all(row.get("trainable") == HEAD_ONLY for row in runs):
            return "only the last layer was trained, and the claim is about networks", "networks trained whole"
        if opposed := next(filter(None, (comparison.opposed for comparison in checked)), ""):
            doubt = f"the data sets disagree ({opposed}); more seeds would not settle it"
            return doubt, "nothing: it depends on the data"
        about_the_end = against and decisive.contrast.metric != OF_THE_START
        if last > MOSTLY * len(runs) and (about_the_end or decisive.contrast.metric == "best_epoch"):
            return f"{last} of {len(runs)} runs were still improving when training ended", "longer training"
        return "", ""

    def needed(self, decisive: Comparison, p_family: float, family: int) -> float:
        """Pairs that would decide if the truth were as seen; nan where more seeds would not."""
        pooled, rule = decisive.pooled, self.rule
        if pooled is None or decisive.opposed or p_family < ALPHA or rule.rebuilt:
            return math.nan
        sd, room = pooled.se * math.sqrt(pooled.n), rule.high - abs(pooled.mean)
        if math.isfinite(room) and room > 2e-3 * sd:
            more = float(sample_size_equivalence(pooled.mean, sd, rule.high))
        else:
            more = pairs_needed(-room if math.isfinite(room) else pooled.mean - rule.low, sd, None, family)
        each = decisive.pairs / sum(
            len(sample.values) for sample in decisive.samples
        )  # of tuned losses: in a tuning study
        return max(each * more, decisive.pairs + len(decisive.samples)) if math.isfinite(more) else math.nan


def _runs(comparisons: Sequence[Comparison]) -> list[Row]:
    """The runs behind some comparisons, each once."""
    runs = {row["run_id"]: row for c in comparisons for sample in c.samples for row in sample.runs}
    return list(runs.values())


def _limits(comparisons: Sequence[Comparison]) -> tuple[str, ...]:
    """Everything that keeps these runs from saying more, each once."""
    limits = [limit for comparison in comparisons for limit in comparison.limits]
    runs = _runs(comparisons)
    if last := sum(map(is_unfinished, runs)):
        limits.append(f"the best epoch is the last one in {last} of {len(runs)} runs")
    limits += [f"missing cells: no pairs for {c.contrast.says}" for c in comparisons if runs and not c.samples]
    return tuple(dict.fromkeys(limits))


@dataclass(frozen=True)
class Answer:
    """What decides a claim that no comparison of runs decides; `holds` is None where it stays undecided.

    The other fields are columns of `COLUMNS`.
    """

    holds: bool | None
    estimate: float
    unit: str
    n: int
    why: str
    limits: tuple[str, ...] = ()
    low: float = math.nan
    high: float = math.nan
    here: str = ""
    remedy: str = ""

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`."""
        if self.holds is None:
            return UNDECIDED if self.n else NOT_TESTED
        return SUPPORTED if self.holds else CONTRADICTED


@dataclass(frozen=True)
class Exact:
    """Decided by `find`: by mathematics, from the paper's own numbers, or (`kind` is runs) from the tables of runs."""

    kind: str
    words: str
    find: Callable[..., Answer]


def exact(kind: str, words: str) -> Callable[[Callable[..., Answer]], Exact]:
    """Make a rule of a function that finds the answer, once unless it looks at runs; `words` are what it tests."""
    return lambda find: Exact(kind, words, find if kind == RUNS else cache(find))


Rule = Compared | Exact

MARGIN = 100 * (OUTCOMES["test_accuracy"].margin or 0.0)  # percentage points
COLUMNS = (
    *("claim", "paper", "place", "says", "kind", "group", "regime", "test", "verdict", "estimate", "low", "high"),
    *("unit", "n", "needed", "p", "p_holm", "against", "printed", "why", "remedy", "here", "limits", "reconstruction"),
    *("notebook", "figure"),
)
DETAIL = (
    *("against", "dataset", "model", "n", "ahead", "estimate", "low", "high", "margin", "verdict", "unit"),
    *("unfinished", "runs", "limits", "setting"),
)


def judge_claims(claims: Sequence[Claim], tables: Tables, margin: float = MARGIN) -> pd.DataFrame:
    """A row a claim and kind of runs; see `claims.evaluate`."""
    if not margin > 0:
        raise ValueError(f"margin={margin!r} must be greater than 0, in percentage points")
    untuned = _judge_runs(claims, tables.rows, UNTUNED, margin)
    tuned = _judge_runs(claims, tables.tuned, TUNED, margin)
    rows: list[dict[str, Any]] = []
    for claim in claims:
        rule = claim.rule
        row = {**vars(claim), "claim": claim.key, "notebook": claim.notebook, "kind": rule.kind, "group": claim.group}
        if isinstance(rule, Exact):
            answer = rule.find(tables) if rule.kind == RUNS else rule.find()
            row |= {"regime": UNTUNED if rule.kind == RUNS else "", "test": rule.words}
            rows.append({**row, **vars(answer), "verdict": answer.verdict, "limits": "; ".join(answer.limits)})
        else:
            rows.append({**row, **untuned[claim.key]})
            if claim.key in tuned and tuned[claim.key]["verdict"] != NOT_TESTED:
                rows.append({**row, **tuned[claim.key]})
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.assign(**{name: table[name].fillna("") for name in ("against", "here", "remedy")})


def _judge_runs(claims: Sequence[Claim], rows: Sequence[Row], regime: str, margin: float) -> dict[str, dict[str, Any]]:
    """What runs of one kind say about each claim that can be put to them, with the columns of `COLUMNS` it fills."""
    rules = {c.key: c.rule if regime == UNTUNED else c.rule.of_tuned() for c in claims if isinstance(c.rule, Compared)}
    findings = {key: rule.judge(rows, margin) for key, rule in rules.items() if rule.contrasts}
    facts: dict[str, dict[str, Any]] = {}
    for paper in PAPERS:
        of_paper = [c for c in claims if c.paper == paper and c.key in findings]
        p_values = [findings[c.key].p for c in of_paper]
        family = sum(map(math.isfinite, p_values))
        for claim, p_holm in zip(of_paper, map(float, holm(p_values)), strict=True):
            test = {"regime": regime, "test": rules[claim.key].words}
            facts[claim.key] = {**test, **_facts(claim, findings[claim.key], p_holm, family)}
    return facts


def _facts(claim: Claim, finding: Finding, p_holm: float, family: int) -> dict[str, Any]:
    verdict, decisive, why, remedy = finding.decide(p_holm)
    low, high = decisive.pooled.interval() if decisive.pooled else (math.nan, math.nan)
    unpooled = [sample.values.mean() for sample in decisive.samples]
    return {
        "verdict": verdict,
        "estimate": decisive.pooled.mean
        if decisive.pooled
        else sum(unpooled) / len(unpooled)
        if unpooled
        else math.nan,
        "low": low,
        "high": high,
        "unit": decisive.contrast.unit,
        "n": decisive.pairs,
        "needed": finding.needed(decisive, p_holm, family) if verdict == UNDECIDED else math.nan,
        "against": decisive.contrast.says,
        "p": finding.p,
        "p_holm": p_holm,
        "why": why,
        "remedy": remedy,
        "here": "; ".join(sample.setting for sample in decisive.samples),
        "limits": "; ".join(_where(PAPERS[claim.paper], finding)),
    }


def _where(paper: Paper, finding: Finding) -> list[str]:
    """Where the runs are not the paper's, and everything that keeps them from saying more."""
    samples = [sample for comparison in finding.comparisons for sample in comparison.samples]
    named = [family for comparison in finding.comparisons for family in comparison.contrast.datasets]
    wanted = tuple(dict.fromkeys(named)) or paper.datasets
    used = sorted({sample.dataset for sample in samples})
    within_wanted = [name for name in used if any(belongs(name, family) for family in wanted)]
    differing = {
        "data sets of the paper without pairs": [f for f in wanted if not any(belongs(name, f) for name in used)],
        "variants of the paper's data sets": [name for name in within_wanted if name not in wanted],
        "data sets that the paper has not": [n for n in used if not any(belongs(n, f) for f in paper.datasets)],
    }
    epochs = sorted({int(row["epochs"]) for sample in samples for row in sample.runs})
    span = " to ".join(str(number) for number in dict.fromkeys(epochs[:1] + epochs[-1:]))
    networks = ", ".join(sorted({sample.model for sample in samples}))
    here = [f"here: {networks}, {span} epochs; the paper: {paper.trained}"] if samples else []
    return [*here, *finding.limits, *(f"{what}: {', '.join(names)}" for what, names in differing.items() if names)]


def break_down(claim: Claim, tables: Tables) -> pd.DataFrame:
    """A claim's contrasts by data set and network; see `claims.detail`."""
    rows = []
    for contrast in claim.rule.contrasts if isinstance(claim.rule, Compared) else ():
        margin = None if contrast.score.margin is None else contrast.score.scale * contrast.score.margin
        for sample in compare(contrast, tables.rows).samples:
            (row,) = judge([sample.values], margin=margin, resolution=sample.resolution)
            own = {name: getattr(sample, name) for name in ("dataset", "model", "setting")}
            own |= {"runs": len(sample.runs), "unfinished": sum(map(is_unfinished, sample.runs))}
            own |= {"limits": "; ".join(sample.limits), "against": contrast.says, "unit": contrast.unit}
            rows.append({**vars(row), **own, "estimate": row.mean, "margin": math.nan if margin is None else margin})
    return pd.DataFrame(rows, columns=list(DETAIL))


def count_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """How many claims have which verdict, a row a paper, group and kind of runs; groups are never added to each other.

    Returns: columns `paper name group regime claims` and one for each of `VERDICTS`.
    """
    verdicts = {key: part["verdict"] for key, part in table.groupby(["paper", "group", "regime"])}
    rows = []
    for paper, group, regime in itertools.product(PAPERS, GROUPS, ("", *REGIMES)):
        if (words := verdicts.get((paper, group, regime))) is not None:
            counts = [int((words == word).sum()) for word in VERDICTS]
            rows.append((paper, PAPERS[paper].name, group, regime, len(words), *counts))
    return pd.DataFrame(rows, columns=["paper", "name", "group", "regime", "claims", *VERDICTS])


def judged_twice(table: pd.DataFrame) -> pd.DataFrame:
    """Claims that were judged on untuned runs and on tuned ones: a row a claim, in the order of `table`.

    Returns: columns `claim paper says before after`, the two verdicts, then `needed` and `remedy` of the tuned runs.
    """
    runs = table[table["kind"] == RUNS].set_index("claim")
    before = runs.loc[(runs["regime"] == UNTUNED) & (runs["verdict"] != NOT_TESTED), "verdict"].rename("before")
    after = runs[runs["regime"] == TUNED].rename(columns={"verdict": "after"}).join(before, how="inner")
    return after[["paper", "says", "before", "after", "needed", "remedy"]].reset_index()


def still_open(table: pd.DataFrame) -> pd.DataFrame:
    """The claims about runs that no kind of runs decides, each as the runs have it that come closest to deciding it.

    Returns: rows of `table`, one a claim, in its order.
    """
    runs = table[table["kind"] == RUNS]
    decided = set(runs.loc[runs["verdict"].isin([SUPPORTED, CONTRADICTED]), "claim"])
    left = runs[~runs["claim"].isin(decided)]
    return left.sort_values(["verdict", "needed"], ascending=[False, True]).drop_duplicates("claim").sort_index()
