"""Every claim against a table of runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lossbench.claims.claim import GROUPS, PAPERS, RUNS, Claim
from lossbench.claims.contrasts import Comparison, compare
from lossbench.claims.rules import UNDECIDED, VERDICTS, Compared, Exact, Finding
from lossbench.claims.tables import Tables, belongs, is_unfinished
from lossbench.stats.paired import OUTCOMES, holm, judge

if TYPE_CHECKING:
    import pandas as pd

MARGIN = 100 * (OUTCOMES["test_accuracy"].margin or 0.0)  # percentage points
COLUMNS = (
    *("claim", "paper", "place", "says", "kind", "group", "test", "verdict", "estimate", "low", "high", "unit", "n"),
    *("needed", "p", "p_holm", "against", "printed", "why", "here", "limits", "reconstruction", "notebook", "figure"),
)
DETAIL = (
    *("against", "dataset", "model", "n", "ahead", "estimate", "low", "high", "margin", "verdict", "unit"),
    *("unfinished", "runs", "limits", "setting"),
)


def judge_claims(claims: Sequence[Claim], tables: Tables, margin: float = MARGIN) -> pd.DataFrame:
    """A row a claim; see `claims.evaluate`."""
    import pandas as pd

    if not margin > 0:
        raise ValueError(f"margin={margin!r} must be greater than 0, in percentage points")
    findings = {c.key: c.rule.judge(tables, margin) for c in claims if isinstance(c.rule, Compared)}
    p_holm: dict[str, float] = {}
    sizes: dict[str, int] = {}
    for paper in PAPERS:
        keys = [c.key for c in claims if c.paper == paper and c.key in findings]
        p_holm |= dict(zip(keys, map(float, holm([findings[key].p for key in keys])), strict=True))
        sizes[paper] = sum(math.isfinite(findings[key].p) for key in keys)
    rows = []
    for claim in claims:
        row = {"claim": claim.key, "paper": claim.paper, "place": claim.place, "says": claim.says,
               "kind": claim.rule.kind, "group": claim.group, "test": claim.rule.words, "printed": claim.printed,
               "reconstruction": claim.reconstruction, "notebook": claim.notebook, "figure": claim.figure}  # fmt: skip
        if isinstance(claim.rule, Exact):
            answer = claim.rule.find(tables) if claim.rule.kind == RUNS else claim.rule.find()
            rows.append({**row, **vars(answer), "limits": "; ".join(answer.limits)})
        else:
            rows.append({**row, **_facts(claim, findings[claim.key], p_holm[claim.key], sizes[claim.paper])})
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.assign(**{name: table[name].fillna("") for name in ("against", "here")})


def _facts(claim: Claim, finding: Finding, p_holm: float, family: int) -> dict[str, Any]:
    verdict, shown, why = finding.decide(p_holm)
    low, high = shown.pooled.interval() if shown.pooled else (math.nan, math.nan)
    unpooled = [sample.values.mean() for sample in shown.samples]
    return {
        "verdict": verdict,
        "estimate": shown.pooled.mean if shown.pooled else sum(unpooled) / len(unpooled) if unpooled else math.nan,
        "low": low,
        "high": high,
        "unit": shown.contrast.unit,
        "n": shown.pairs,
        "needed": finding.needed(shown, p_holm, family) if verdict == UNDECIDED else math.nan,
        "against": shown.contrast.says,
        "p": finding.p,
        "p_holm": p_holm,
        "why": why,
        "here": "; ".join(sample.setting for sample in shown.samples),
        "limits": "; ".join(_limits(claim, finding)),
    }


def _limits(claim: Claim, finding: Finding) -> list[str]:
    """Where the runs are not the paper's, and everything that keeps them from saying more."""
    paper = PAPERS[claim.paper]
    samples = [sample for comparison in finding.comparisons for sample in comparison.samples]
    asked = [family for comparison in finding.comparisons for family in comparison.contrast.datasets]
    wanted = list(dict.fromkeys(asked)) or paper.datasets
    used = {sample.dataset for sample in samples}
    absent = [family for family in wanted if not any(belongs(name, family) for name in used)]
    variants = sorted(name for name in used if name not in wanted and any(belongs(name, f) for f in wanted))
    others = sorted(name for name in used if not any(belongs(name, family) for family in paper.datasets))
    networks = ", ".join(sorted({sample.model for sample in samples}))
    epochs = {int(row["epochs"]) for sample in samples for row in sample.runs}
    return [
        *([f"here: {networks}, {_span(epochs)} epochs; the paper: {paper.trained}"] if samples else []),
        *finding.limits,
        *([f"data sets of the paper without pairs: {', '.join(absent)}"] if absent else []),
        *([f"variants of the paper's data sets: {', '.join(variants)}"] if variants else []),
        *([f"data sets that the paper has not: {', '.join(others)}"] if others else []),
    ]


def _span(numbers: set[int]) -> str:
    return " to ".join(str(number) for number in dict.fromkeys((min(numbers), max(numbers))))


def break_down(claim: Claim, tables: Tables, margin: float = MARGIN) -> pd.DataFrame:
    """A claim's contrasts by data set and network; see `claims.detail`."""
    import pandas as pd

    contrasts = claim.rule.contrasts if isinstance(claim.rule, Compared) else ()
    rows = [row for contrast in contrasts for row in _rows(compare(contrast, tables), margin)]
    return pd.DataFrame(rows, columns=list(DETAIL))


def _rows(comparison: Comparison, points: float) -> list[dict[str, Any]]:
    score = comparison.contrast.score
    margin = None if score.margin is None else points if score.unit == "points" else score.scale * score.margin
    judged = [judge([s.values], margin=margin, resolution=s.resolution)[0] for s in comparison.samples]
    return [
        {
            **vars(row),
            "against": comparison.contrast.says,
            "dataset": sample.dataset,
            "model": sample.model,
            "estimate": row.mean,
            "margin": math.nan if margin is None else margin,
            "unit": comparison.contrast.unit,
            "unfinished": sum(map(is_unfinished, sample.runs)),
            "runs": len(sample.runs),
            "limits": "; ".join(sample.limits),
            "setting": sample.setting,
        }
        for row, sample in zip(judged, comparison.samples, strict=True)
    ]


def count_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """How many claims have which verdict, a row a paper and group; groups are never added to each other.

    Returns: columns `paper name group claims` and one for each of `VERDICTS`.
    """
    import pandas as pd

    rows = []
    for (paper, group), part in table.groupby(["paper", "group"]):
        counts = {word: int((part["verdict"] == word).sum()) for word in VERDICTS}
        rows.append({"paper": paper, "name": PAPERS[str(paper)].name, "group": group, "claims": len(part), **counts})
    counted = pd.DataFrame(rows, columns=["paper", "name", "group", "claims", *VERDICTS])
    order = counted["group"].map(GROUPS.index)
    return counted.assign(order=order).sort_values(["paper", "order"]).drop(columns="order").reset_index(drop=True)
