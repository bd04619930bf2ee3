"""How a claim is decided: one rule for all that are decided by runs.

Every number comes from `stats`: differences paired by seed and judged by `stats.judge` on one data set, pooled over data
sets with weights by precision (`stats.pooled`). A claim names the values that it allows, above a bound or within a
margin, and often makes several contrasts, such as "better than each rival"; then all of them must hold.

- **supported**: every interval lies among the allowed values; "within" must hold on every data set;
- **contradicted**: some interval lies wholly outside, in a setting that the claim is about;
- **undecided**: neither, or the runs decide and something else speaks against saying so: see below;
- **not tested**: no pair of runs that the claim is about.

Both verdicts are held to 0.05 for each paper as a whole: the p values of its claims are corrected by Holm. What the runs
say stays undecided where

- runs diverged, or data sets show opposite effects;
- the loss is our reconstruction because the paper's formula is lost: it decides nothing about the original;
- the claim speaks of trained networks, and more than half of the runs that contradict it had their best epoch last: a
  network that is still improving supports a claim for the budget it had, but refutes none about trained ones;
- the claim is that some setting exists, and one setting fails.

Before all that, a setting counts only if a network has learned its task there (`tables.NEAREST_MEAN`) and no side stayed
at chance. Every verdict by runs is one about the networks and budgets that it names: "here".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lossbench.claims.claim import RUNS
from lossbench.claims.contrasts import Comparison, Contrast, compare
from lossbench.claims.tables import Tables
from lossbench.stats.paired import ALPHA, pairs_needed
from lossbench.stats.planning import sample_size_equivalence

SUPPORTED, CONTRADICTED, UNDECIDED, NOT_TESTED = "supported", "contradicted", "undecided", "not tested"
VERDICTS = (SUPPORTED, CONTRADICTED, UNDECIDED, NOT_TESTED)
MOSTLY = 0.5
POWER = 0.8
# Scores of which the end of training takes nothing away.
OF_THE_START = ("first_epoch_accuracy", "epochs_needed")


@dataclass(frozen=True)
class Finding:
    """What the runs say about a claim before the paper's other claims are allowed for.

    Args:
        rule: what the claim allows.
        comparisons: what must hold: one a contrast, or a contrast and data set.
        support, contradict: p value of each comparison for either verdict, nan where it has no interval.
    """

    rule: Above | Within
    comparisons: tuple[Comparison, ...]
    support: tuple[float, ...]
    contradict: tuple[float, ...]
    limits: tuple[str, ...]

    @property
    def tested(self) -> bool:
        """Whether any contrast has a pair of runs."""
        return any(comparison.pairs for comparison in self.comparisons)

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

    def decide(self, p_family: float) -> tuple[str, Comparison, str]:
        """The verdict, the comparison that it hangs on, and the reason in words.

        Args:
            p_family: `p` after the correction for the paper's other claims.
        """
        if not self.tested:
            return NOT_TESTED, self.comparisons[0], "there is no pair of runs that the claim is about"
        if math.isnan(p_family):
            return UNDECIDED, next(c for c in self.comparisons if c.pairs), "no spread over seeds, so no interval"
        weakest = self.comparisons[int(np.nanargmax(self.support))]
        opposed = self.comparisons[int(np.nanargmin(self.contradict))]
        against = self.p_contradict < self.p_support
        if p_family >= ALPHA:
            if self.p >= ALPHA:
                return UNDECIDED, weakest, self.rule.open(weakest)
            return UNDECIDED, opposed if against else weakest, "the interval alone would decide, but not after Holm"
        shown, verdict = (opposed, CONTRADICTED) if against else (weakest, SUPPORTED)
        said = self.rule.outside(shown) if against else "every interval lies where the claim puts it"
        doubt = self._doubt(shown, against)
        return (UNDECIDED, shown, f"{said}, but {doubt}") if doubt else (verdict, shown, said)

    def _doubt(self, shown: Comparison, against: bool) -> str:
        """Why a verdict is withheld although the intervals would give it; empty if it is not."""
        checked = (shown,) if against else self.comparisons
        runs = [row for comparison in checked for sample in comparison.samples for row in sample.runs]
        last = sum(sample.unfinished for comparison in checked for sample in comparison.samples)
        cut_off = last > MOSTLY * len(runs) and (against or shown.contrast.metric == "best_epoch")
        if not all(row["ended"] for row in runs):
            return "runs diverged"
        if self.rule.rebuilt:
            return "the loss is our reconstruction, which decides nothing about the paper's own"
        if against and self.rule.exists:
            return "the claim is that some setting exists, and this is one"
        if isinstance(self.rule, Above) and (opposed := next(filter(None, (c.opposed for c in checked)), "")):
            return f"the data sets disagree ({opposed}); more seeds would not settle it"
        if cut_off and shown.contrast.metric not in OF_THE_START:
            return f"{last} of {len(runs)} runs were still improving when training ended"
        return ""

    def needed(self, shown: Comparison, comparisons: int) -> float:
        """Pairs that would decide if the truth were as seen; nan where more seeds would not."""
        if shown.pooled is None or shown.opposed:
            return math.nan
        more = self.rule.needed(shown, comparisons)
        return max(more, shown.pairs + len(shown.samples)) if math.isfinite(more) else math.nan


@dataclass(frozen=True)
class Above:
    """Every contrast is above a bound.

    Args:
        contrasts: each the better side minus the worse, in the direction of its score.
        bound: 0 for "better"; below 0 for "not behind by more than".
        size: the size that the claim states; an interval wholly below it contradicts the claim.
        readings: whether each contrast is one reading of the claim, so that it falls only if it falls in all.
        exists: whether the claim is that some setting has the property, which a setting that fails does not refute.
        rebuilt: whether the loss is our reconstruction because the paper's formula is lost.
    """

    contrasts: tuple[Contrast, ...]
    bound: float = 0.0
    size: float | None = None
    readings: bool = False
    exists: bool = False
    rebuilt: bool = False

    kind = RUNS

    @property
    def words(self) -> str:
        """The test in words."""
        size = "" if self.size is None else f", and not below {self.size:g} {self.contrasts[0].score.unit}"
        every = "each " if len(self.contrasts) > 1 else ""
        return f"paired by seed, {every}above {self.bound:g}{size}: {'; '.join(c.says for c in self.contrasts)}"

    def judge(self, tables: Tables, margin: float) -> Finding:
        """Compare the runs; `margin` plays no part."""
        comparisons = tuple(compare(contrast, tables) for contrast in self.contrasts)
        support = [min(1.0, 2 * c.pooled.p_above(self.bound)) if c.pooled else math.nan for c in comparisons]
        contradict = [min(1.0, 2 * c.pooled.p_below(self._least)) if c.pooled else math.nan for c in comparisons]
        if self.size is not None:  # above the bound and clearly below the size is no support
            support = [1.0 if against < ALPHA else p for p, against in zip(support, contradict, strict=True)]
        return Finding(self, comparisons, tuple(support), tuple(contradict), _limits(comparisons))

    @property
    def _least(self) -> float:
        return self.bound if self.size is None else self.size

    def open(self, shown: Comparison) -> str:
        """Why intervals decide nothing."""
        return f"the interval holds {self.bound:g}"

    def outside(self, shown: Comparison) -> str:
        """How an interval speaks against the claim."""
        assert shown.pooled is not None
        if self.size is not None and shown.pooled.interval()[1] > self.bound:
            return f"the interval lies below the claimed {self.size:g}"
        return f"the interval lies below {self.bound:g}"

    def needed(self, shown: Comparison, comparisons: int) -> float:
        """Pairs that would show the difference that was seen."""
        assert shown.pooled is not None
        sd = shown.pooled.se * math.sqrt(shown.pooled.n)
        return pairs_needed(shown.pooled.mean - self.bound, sd, None, comparisons, POWER)


@dataclass(frozen=True)
class Within:
    """Every contrast lies within a margin of 0 on every data set: two one-sided tests.

    Differences that cancel over data sets are differences, so nothing is pooled.

    Args:
        margin: in the unit of the score; None takes that of `evaluate`.
    """

    contrasts: tuple[Contrast, ...]
    margin: float | None = None
    readings: bool = False
    exists: bool = False
    rebuilt: bool = False

    kind = RUNS

    @property
    def words(self) -> str:
        """The test in words."""
        margin = "the margin" if self.margin is None else f"±{self.margin:g} {self.contrasts[0].score.unit}"
        return f"paired by seed, within {margin} on every data set: {'; '.join(c.says for c in self.contrasts)}"

    def judge(self, tables: Tables, margin: float) -> Finding:
        """Compare the runs."""
        rule = replace(self, margin=margin if self.margin is None else self.margin)
        whole = [compare(contrast, tables) for contrast in self.contrasts]
        parts = tuple(part for comparison in whole for part in comparison.by_data_set() or [comparison])
        bound = rule.margin or 0.0
        inside = [max(c.pooled.p_above(-bound), c.pooled.p_below(bound)) if c.pooled else math.nan for c in parts]
        beyond = [2 * min(c.pooled.p_above(bound), c.pooled.p_below(-bound)) if c.pooled else math.nan for c in parts]
        return Finding(rule, parts, tuple(inside), tuple(min(1.0, p) for p in beyond), _limits(whole))

    def open(self, shown: Comparison) -> str:
        """Why intervals decide nothing."""
        assert shown.pooled is not None
        low, high = shown.pooled.interval()
        differs = "" if low <= 0 <= high else ", nor does it hold 0"
        return f"the interval is not within ±{self.margin:g}{differs}"

    def outside(self, shown: Comparison) -> str:
        """How an interval speaks against the claim."""
        return f"the difference is larger than ±{self.margin:g}"

    def needed(self, shown: Comparison, comparisons: int) -> float:
        """Pairs that would show the difference that was seen to be within the margin, or beyond it."""
        assert shown.pooled is not None
        assert self.margin is not None
        mean, sd = abs(shown.pooled.mean), shown.pooled.se * math.sqrt(shown.pooled.n)
        if self.margin - mean > 2e-3 * sd:
            return float(sample_size_equivalence(mean, sd, self.margin, ALPHA, POWER))
        return pairs_needed(mean - self.margin, sd, None, comparisons, POWER)


def _limits(comparisons: tuple[Comparison, ...] | list[Comparison]) -> tuple[str, ...]:
    """Everything that keeps these runs from saying more, each once."""
    limits = [limit for comparison in comparisons for limit in comparison.limits]
    runs = {row["run_id"]: row for c in comparisons for sample in c.samples for row in sample.runs}.values()
    last = sum(float(row.get("best_epoch", math.nan)) >= float(row["epochs"]) for row in runs)
    limits += [f"the best epoch is the last one in {last} of {len(runs)} runs"] if last else []
    if any(comparison.pairs for comparison in comparisons):
        limits += [f"missing cells: no pairs for {c.contrast.says}" for c in comparisons if not c.pairs]
    return tuple(dict.fromkeys(limits))


@dataclass(frozen=True)
class Answer:
    """What code found out about a claim that no comparison of runs decides.

    Args:
        verdict: one of `VERDICTS`.
        estimate, low, high: the number it hangs on and its interval, nan where there is none.
        unit: of the estimate.
        n: what was counted or checked.
        why: the reason in words.
        limits: what keeps it from saying more.
    """

    verdict: str
    estimate: float
    unit: str
    n: int
    why: str
    low: float = math.nan
    high: float = math.nan
    limits: tuple[str, ...] = ()
    here: str = ""

    def limited(self, *limits: str) -> Answer:
        """The same with further limits."""
        return replace(self, limits=(*self.limits, *limits))


@dataclass(frozen=True)
class Exact:
    """Decided without a run: `kind` tells by mathematics or by the paper's own numbers, `find` gives the answer."""

    kind: str
    words: str
    find: Callable[[], Answer]


@dataclass(frozen=True)
class OwnTest:
    """Decided by a test of its own kind on the tables of runs."""

    words: str
    find: Callable[[Tables], Answer]

    kind = RUNS


Rule = Above | Within | Exact | OwnTest


def settle(true: bool) -> str:
    """Verdict of a claim that code decides exactly."""
    return SUPPORTED if true else CONTRADICTED
