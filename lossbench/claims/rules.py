"""How a claim is decided: one rule for all that are decided by runs.

A contrast gives an estimate over data sets with a 95 % interval (`estimates.combine`). A claim names the values that
it allows: above 0 for "better", within the margin for "no difference". Often it makes several contrasts, such as
"better than each rival"; then all of them must hold.

- **supported**: every interval lies among the allowed values. For "better" the interval is that of the mean over data
  sets, and every estimate also lies outside the noise floor: two runs of one function under different seeds would not
  differ as much. "No difference" must hold on every data set, or differences that cancel would pass for none;
- **contradicted**: some interval lies wholly outside, and outside the noise floor where it is about 0;
- **undecided**: neither. A lack of runs is never evidence for "no difference";
- **not tested**: no pair of runs.

Both verdicts are also held to 0.05 for each paper as a whole: the p values of its claims are corrected by Holm. A claim
that states a size is contradicted as soon as the interval lies below it. A side that lost runs to divergence is
flattered by those that remain, so a verdict in its favour is withheld. So is any verdict on the best epoch where most
runs were still getting better when training ended, and on "better" where data sets show opposite effects.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lossbench.claims.compare import Comparison, compare
from lossbench.claims.contrast import Contrast
from lossbench.claims.estimates import ALPHA
from lossbench.claims.tables import Tables

SUPPORTED, CONTRADICTED, UNDECIDED, NOT_TESTED = "supported", "contradicted", "undecided", "not tested"
VERDICTS = (SUPPORTED, CONTRADICTED, UNDECIDED, NOT_TESTED)


@dataclass(frozen=True)
class Finding:
    """What the runs say about a claim before the paper's other claims are allowed for.

    Args:
        comparisons: one a contrast, also those without a pair.
        support, contradict: one-sided p value of each comparison for either verdict, nan where it has no interval.
        margin: half width of the allowed region of "no difference"; None for "better".
        size: the size that the claim states, or None.
    """

    comparisons: tuple[Comparison, ...]
    support: tuple[float, ...]
    contradict: tuple[float, ...]
    margin: float | None = None
    size: float | None = None

    @property
    def tested(self) -> bool:
        """Whether any contrast has a pair of runs."""
        return any(comparison.pairs for comparison in self.comparisons)

    @property
    def p(self) -> float:
        """Two-sided p value of the claim as a whole; nan without an interval."""
        for_it, against = self._p()
        return min(1.0, 2 * min(for_it, against)) if np.isfinite([for_it, against]).all() else math.nan

    def _p(self) -> tuple[float, float]:
        known = np.array([p for p in self.contradict if math.isfinite(p)])
        if not len(known):
            return math.nan, math.nan
        # All contrasts must hold to support a claim, one is enough against it.
        return max(p for p in self.support if math.isfinite(p)), min(1.0, len(known) * known.min())

    def decide(self, p_family: float) -> tuple[str, Comparison, str]:
        """The verdict, the comparison that it hangs on, and the reason in words.

        Args:
            p_family: `p` after the correction for the paper's other claims.
        """
        for_it, against = self._p()
        if not self.tested:
            return NOT_TESTED, self.comparisons[0], "there is no pair of runs to compare"
        if math.isnan(p_family):
            return UNDECIDED, next(c for c in self.comparisons if c.pairs), "no spread over seeds, so no interval"
        closest = self.comparisons[int(np.nanargmax(self.support))]
        opposed = self.comparisons[int(np.nanargmin(self.contradict))]
        said_no = against < for_it
        if 2 * min(for_it, against) >= ALPHA:
            return UNDECIDED, closest, self._open(closest)
        if p_family >= ALPHA:
            return UNDECIDED, opposed if said_no else closest, "the interval alone would decide, but not after Holm"
        if said_no:
            why = self._doubt(opposed, better=False)
            return (UNDECIDED, opposed, why) if why else (CONTRADICTED, opposed, self._against(opposed))
        why = self._doubt(closest, better=True) or self._missing()
        return (UNDECIDED, closest, why) if why else (SUPPORTED, closest, "every interval lies where the claim puts it")

    def _doubt(self, shown: Comparison, better: bool) -> str:
        """Why a verdict is withheld although the interval would give it; empty if it is not."""
        if any(sample.is_cut_off for sample in shown.samples):
            return "training ended before the curves reached their peak"
        if self.margin is None and shown.opposed:
            return f"the data sets disagree: {shown.opposed}; more seeds would not settle it"
        about_size = self.size is not None and not better
        checked = self.comparisons if better else (shown,)
        if self.margin is None and not about_size and any(abs(c.mean) <= c.floor for c in checked):
            return "the difference lies inside the noise floor"
        if self.margin is not None and better:
            return "runs diverged" if any(c.lost(True) + c.lost(False) for c in checked) else ""
        flattered = any(c.lost(better) for c in checked)
        return "the side it favours lost runs to divergence" if flattered else ""

    def _missing(self) -> str:
        lacking = [c.contrast.says for c in self.comparisons if c.estimate is None]
        return f"no interval for {'; '.join(lacking)}" if lacking else ""

    def _open(self, shown: Comparison) -> str:
        assert shown.estimate is not None
        low, high = shown.estimate.interval()
        if self.margin is not None:
            return f"the interval is not within ±{self.margin:g}" + (
                ", nor does it hold 0" if low > 0 or high < 0 else ""
            )
        return "the interval holds 0"

    def _against(self, shown: Comparison) -> str:
        assert shown.estimate is not None
        low, high = shown.estimate.interval()
        if self.margin is not None:
            return f"the difference is larger than ±{self.margin:g}"
        if self.size is not None and high > 0:
            return f"the interval lies {'above 0 but ' if low > 0 else ''}below the claimed {self.size:g}"
        return "the interval lies on the other side of 0"


@dataclass(frozen=True)
class Superiority:
    """Every contrast is above 0.

    Args:
        contrasts: each the better side minus the worse, in the direction of its scale.
        size: the size that the claim states, in the scale's unit; None if only the direction is claimed.
        printed: the difference that the paper prints, in the scale's unit; shown, and used for planning.
    """

    contrasts: tuple[Contrast, ...]
    size: float | None = None
    printed: float | None = None

    kind = "runs"

    @property
    def words(self) -> str:
        """The test in words."""
        listed = "; ".join(contrast.says for contrast in self.contrasts)
        size = "" if self.size is None else f", and not below {self.size:g} {self.contrasts[0].scale.unit}"
        every = "each " if len(self.contrasts) > 1 else ""
        return f"{self.contrasts[0].scale.words}, paired by seed: {every}above 0{size}: {listed}"

    def judge(self, tables: Tables, margin: float) -> Finding:
        """Compare the runs; `margin` plays no part."""
        found = tuple(compare(contrast, tables) for contrast in self.contrasts)
        bound = self.size or 0.0
        support, contradict = [], []
        for one in found:
            estimate = one.estimate
            below = estimate.p_below(bound) if estimate else math.nan
            above = estimate.p_above(0.0) if estimate else math.nan
            short = estimate is not None and estimate.interval()[1] < bound
            support.append(1.0 if short else above)
            contradict.append(below)
        return Finding(found, tuple(support), tuple(contradict), size=self.size)


@dataclass(frozen=True)
class Equivalence:
    """Every contrast lies within the margin of 0 on every data set: two one-sided tests, both at 0.025.

    Differences that cancel over data sets are differences. A mean over data sets beyond the margin speaks against it.
    """

    contrasts: tuple[Contrast, ...]
    printed: float | None = None

    kind = "runs"

    @property
    def words(self) -> str:
        """The test in words."""
        listed = "; ".join(contrast.says for contrast in self.contrasts)
        return f"{self.contrasts[0].scale.words}, paired by seed: within the margin on every data set (TOST): {listed}"

    def judge(self, tables: Tables, margin: float) -> Finding:
        """Compare the runs with ±`margin` percentage points, or what matters in the scale's own unit."""
        bound = self.contrasts[0].scale.margin(margin)
        whole = [compare(contrast, tables) for contrast in self.contrasts]
        parts = [part for one in whole for part in one.by_data_set()]
        estimates = [one.estimate for one in (*whole, *parts)]
        inside = [max(e.p_above(-bound), e.p_below(bound)) if e else math.nan for e in estimates]
        beyond = [min(e.p_above(bound), e.p_below(-bound)) if e else math.nan for e in estimates]
        cut, unknown = len(whole), [math.nan]
        return Finding(
            comparisons=(*whole, *parts),
            support=(*unknown * cut, *inside[cut:]),
            contradict=(*beyond[:cut], *unknown * len(parts)),
            margin=bound,
        )


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
    protocol: str = ""

    def limited(self, *limits: str) -> Answer:
        """The same with further limits."""
        return replace(self, limits=(*self.limits, *limits))


@dataclass(frozen=True)
class Exact:
    """Decided without a run, by exact mathematics or by the paper's own numbers.

    Args:
        kind: `mathematics` or `printed table`.
        words: the test in words.
        find: gives the answer.
    """

    kind: str
    words: str
    find: Callable[[], Answer]


@dataclass(frozen=True)
class OwnTest:
    """Decided by a test of its own kind on the tables of runs.

    Args:
        words: the test in words.
        find: gives the answer from the tables.
    """

    words: str
    find: Callable[[Tables], Answer]

    kind = "runs"


Rule = Superiority | Equivalence | Exact | OwnTest


def settle(true: bool) -> str:
    """Verdict of a claim that code decides exactly."""
    return SUPPORTED if true else CONTRADICTED
