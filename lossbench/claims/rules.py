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
- the claim is that some setting has a property, and this one has not.

Before all that, a setting counts only if a network has learned its task there (`tables.NEAREST_MEAN`) and no side
stayed at chance. Every verdict by runs is about the networks and budgets that it names: "here".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lossbench.claims.claim import RUNS
from lossbench.claims.contrasts import Comparison, Contrast, compare
from lossbench.claims.tables import Row, Tables, is_unfinished
from lossbench.stats.paired import ALPHA, pairs_needed
from lossbench.stats.planning import sample_size_equivalence

SUPPORTED, CONTRADICTED, UNDECIDED, NOT_TESTED = "supported", "contradicted", "undecided", "not tested"
VERDICTS = (SUPPORTED, CONTRADICTED, UNDECIDED, NOT_TESTED)
MOSTLY = 0.5
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
    """

    contrasts: tuple[Contrast, ...]
    low: float = 0.0
    high: float = math.inf
    everywhere: bool = False
    size: float | None = None
    readings: bool = False
    exists: bool = False
    rebuilt: bool = False

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

    def judge(self, tables: Tables, margin: float) -> Finding:
        """Compare the runs."""
        rule = replace(self, low=-margin, high=margin) if math.isinf(self.low) else self
        comparisons = [compare(contrast, tables) for contrast in self.contrasts]
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

    def needed(self, comparison: Comparison, family: int) -> float:
        """Pairs that would decide if the truth were as seen."""
        assert comparison.pooled is not None
        mean, sd = comparison.pooled.mean, comparison.pooled.se * math.sqrt(comparison.pooled.n)
        room = self.high - abs(mean)
        if math.isfinite(room) and room > 2e-3 * sd:
            return float(sample_size_equivalence(mean, sd, self.high))
        return pairs_needed(-room if math.isfinite(room) else mean - self.low, sd, None, family)


def above(contrasts: Sequence[Contrast], bound: float = 0.0, **options: Any) -> Compared:
    """Every contrast is above a bound: 0 for "better", less for "not behind by more than"."""
    return Compared(tuple(contrasts), low=bound, **options)


def within(contrasts: Sequence[Contrast], margin: float = math.inf) -> Compared:
    """Every contrast lies within a margin of 0 on every data set, or differences that cancel would pass for none."""
    return Compared(tuple(contrasts), low=-margin, high=margin, everywhere=True)


@dataclass(frozen=True)
class Finding:
    """What the runs say about a claim before the paper's other claims are allowed for.

    Args:
        rule: what the claim allows.
        comparisons: what must hold: one a contrast, or a contrast and data set.
        support, contradict: p value of each comparison for either verdict, nan where it has no interval.
        limits: what keeps the runs from saying more.
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

    def decide(self, p_family: float) -> tuple[str, Comparison, str]:
        """The verdict, the comparison that it hangs on, and the reason in words.

        Args:
            p_family: `p` after the correction for the paper's other claims.
        """
        paired = [comparison for comparison in self.comparisons if comparison.samples]
        if not paired:
            return NOT_TESTED, self.comparisons[0], "there is no pair of runs that the claim is about"
        if math.isnan(p_family):
            return UNDECIDED, paired[0], "no spread over seeds, so no interval"
        against = self.p_contradict < self.p_support
        weakest, opposed = int(np.nanargmax(self.support)), int(np.nanargmin(self.contradict))
        shown = self.comparisons[opposed if against and self.p < ALPHA else weakest]
        if p_family >= ALPHA:
            corrected = "the interval alone would decide, but not after Holm's correction"
            return UNDECIDED, shown, corrected if self.p < ALPHA else f"unclear whether it is {self.rule.allowed}"
        verdict = CONTRADICTED if against else SUPPORTED
        why = f"the interval is not {self.rule.allowed}" if against else f"every interval is {self.rule.allowed}"
        if against and self.rule.size is not None:
            why = f"the interval lies below the claimed {self.rule.size:g}"
        doubt = self._doubt(shown, against)
        return (UNDECIDED, shown, f"{why}, but {doubt}") if doubt else (verdict, shown, why)

    def _doubt(self, shown: Comparison, against: bool) -> str:
        """Why a verdict is withheld although the intervals would give it; empty if it is not."""
        checked = (shown,) if against else self.comparisons
        runs = _runs(checked)
        last = sum(map(is_unfinished, runs))
        if not all(row["ended"] for row in runs):
            return "runs diverged"
        if self.rule.rebuilt:
            return "the loss is our reconstruction, which decides nothing about the paper's own"
        if against and self.rule.exists:
            return "the claim is that some setting exists, and this is one"
        if opposed := next(filter(None, (comparison.opposed for comparison in checked)), ""):
            return f"the data sets disagree ({opposed}); more seeds would not settle it"
        about_the_end = against and shown.contrast.metric != OF_THE_START
        if last > MOSTLY * len(runs) and (about_the_end or shown.contrast.metric == "best_epoch"):
            return f"{last} of {len(runs)} runs were still improving when training ended"
        return ""

    def needed(self, shown: Comparison, p_family: float, family: int) -> float:
        """Pairs that would decide if the truth were as seen; nan where more seeds would not."""
        if shown.pooled is None or shown.opposed or p_family < ALPHA or self.rule.rebuilt:
            return math.nan
        more = self.rule.needed(shown, family)
        return max(more, shown.pairs + len(shown.samples)) if math.isfinite(more) else math.nan


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


@dataclass(frozen=True)
class Exact:
    """Decided by `find`, by mathematics, from the paper's own numbers, or (`kind` is runs) from the tables of runs."""

    kind: str
    words: str
    find: Callable[..., Answer]


Rule = Compared | Exact


def settle(true: bool) -> str:
    """Verdict of a claim that code decides exactly."""
    return SUPPORTED if true else CONTRADICTED
