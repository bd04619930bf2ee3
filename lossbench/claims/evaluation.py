"""Every claim against a table of runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lossbench.claims.claim import PAPERS, Claim
from lossbench.claims.compare import Comparison, Sample, compare
from lossbench.claims.estimates import combine, holm, noise_band, pairs_needed
from lossbench.claims.rules import UNDECIDED, Equivalence, Exact, Finding, OwnTest, Superiority
from lossbench.claims.scales import MARGIN
from lossbench.claims.tables import Tables, belongs

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    *("claim", "paper", "place", "says", "test", "verdict", "estimate", "low", "high", "unit", "n", "detectable"),
    *("needed", "notebook", "figure", "kind", "against", "floor", "p", "p_holm", "printed", "why", "limits"),
    *("protocol", "reconstruction"),
)


def judge(claims: Sequence[Claim], tables: Tables, margin: float = MARGIN) -> pd.DataFrame:
    """A row a claim; see `evaluate`."""
    import pandas as pd

    if not margin > 0:
        raise ValueError(f"margin={margin!r} must be greater than 0, in percentage points")
    findings = {c.key: c.rule.judge(tables, margin) for c in claims if isinstance(c.rule, Superiority | Equivalence)}
    corrected = {paper: holm({c.key: findings[c.key].p for c in claims if c.paper == paper and c.key in findings})
                 for paper in PAPERS}  # fmt: skip
    rows = []
    for claim in claims:
        row = {"claim": claim.key, "paper": claim.paper, "place": claim.place, "says": claim.says,
               "test": claim.rule.words, "notebook": claim.notebook, "figure": claim.figure, "kind": claim.rule.kind,
               "printed": claim.printed, "reconstruction": claim.reconstruction}  # fmt: skip
        if isinstance(claim.rule, Exact | OwnTest):
            answer = claim.rule.find() if isinstance(claim.rule, Exact) else claim.rule.find(tables)
            facts = {name: value for name, value in vars(answer).items() if name != "limits"}
            rows.append({**row, **facts, "limits": "; ".join(answer.limits)})
        else:
            family = corrected[claim.paper]
            rows.append({**row, **_facts(claim, findings[claim.key], family, margin)})
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    texts = {name: table[name].fillna("") for name in ("against", "limits", "protocol", "unit", "why")}
    return table.assign(**texts, n=table["n"].fillna(0).astype(int))


def _facts(claim: Claim, finding: Finding, family: dict[str, float], margin: float) -> dict[str, Any]:
    p_family = family[claim.key]
    verdict, shown, why = finding.decide(p_family)
    estimate = shown.estimate
    low, high = estimate.interval() if estimate else (math.nan, math.nan)
    needed = math.nan
    if verdict == UNDECIDED and estimate and not (finding.margin is None and shown.opposed):
        size = sum(math.isfinite(p) for p in family.values())
        needed = _needed(claim, shown, margin, size)
    return {
        "verdict": verdict,
        "estimate": shown.mean,
        "low": low,
        "high": high,
        "unit": shown.contrast.scale.unit,
        "n": shown.pairs,
        "detectable": estimate.detectable if estimate else math.nan,
        "needed": needed,
        "against": shown.contrast.says,
        "floor": shown.floor,
        "p": finding.p,
        "p_holm": p_family,
        "why": why + _beside_print(claim, low, high),
        "limits": "; ".join(_limits(claim, finding)),
        "protocol": protocol(shown.samples),
    }


def _needed(claim: Claim, shown: Comparison, margin: float, comparisons: int) -> float:
    """Pairs that would decide the claim if the truth were what was seen, or what the paper printed if that is less.

    At least one more seed on every data set: what there is did not decide it.
    """
    assert shown.estimate is not None
    bound, seen = shown.contrast.scale.margin(margin), abs(shown.mean)
    if isinstance(claim.rule, Equivalence):
        effect, by_noise = abs(bound - seen), 0
    else:
        effect = min(seen, abs(getattr(claim.rule, "printed", None) or seen))
        by_noise = math.ceil(shown.estimate.n * (shown.floor / seen) ** 2) if shown.floor > seen > 0 else 0
    return max(pairs_needed(shown.estimate, effect, comparisons), by_noise, shown.pairs + len(shown.samples))


def _beside_print(claim: Claim, low: float, high: float) -> str:
    printed = getattr(claim.rule, "printed", None)
    if printed is None or not math.isfinite(low):
        return ""
    where = "inside" if low <= printed <= high else "above" if printed > high else "below"
    return f"; the printed {printed:+g} lies {where} the interval"


def _limits(claim: Claim, finding: Finding) -> list[str]:
    """Everything that keeps the claim's runs from saying more, each once."""
    found = [limit for comparison in finding.comparisons for limit in comparison.limits]
    if finding.tested:
        found += [f"missing cells: no pairs for {c.contrast.says}" for c in finding.comparisons if not c.pairs]
    asked = [family for comparison in finding.comparisons for family in comparison.contrast.datasets]
    wanted = list(dict.fromkeys(asked)) or PAPERS[claim.paper].datasets
    used = {sample.dataset for comparison in finding.comparisons for sample in comparison.samples}
    absent = [family for family in wanted if not any(belongs(name, family) for name in used)]
    variants = sorted(name for name in used if name not in wanted and any(belongs(name, f) for f in wanted))
    found += [f"data sets of the paper without pairs: {', '.join(absent)}"] if absent else []
    found += [f"variants of the paper's data sets: {', '.join(variants)}"] if variants else []
    return list(dict.fromkeys(found))


def protocol(samples: Sequence[Sample]) -> str:
    """Data set, model, images, epochs, what is unusual or averaged, and seeds of each part, as a line of text."""
    parts = []
    for one in samples:
        epochs = f", {one.setting['epochs']} epochs" if "epochs" in one.setting else ""
        images = f", {float(one.images):,.0f} training images" if one.images else ""
        kinds = f", mean of {one.kinds} combinations" if one.kinds > 1 else ""
        unusual = "".join(f", {name.replace('_', ' ')} {value or 'not set'}" for name, value in one.unusual.items())
        parts.append(f"{one.dataset}: {one.model}{images}{epochs}{unusual}{kinds}, {len(one.seeds)} seeds")
    return "; ".join(parts)


def break_down(claim: Claim, tables: Tables) -> pd.DataFrame:
    """A claim's contrasts by data set and model; see `detail`."""
    import pandas as pd

    columns = ["against", "dataset", "model", "n", "estimate", "low", "high", "floor", "place", "limits", "unit"]
    columns.append("protocol")
    rows = []
    contrasts = claim.rule.contrasts if isinstance(claim.rule, Superiority | Equivalence) else ()
    for comparison in (compare(contrast, tables) for contrast in contrasts):
        for sample in comparison.samples:
            rows.append((comparison.contrast.says, *_alone(sample), comparison.contrast.scale.unit, protocol([sample])))
    return pd.DataFrame(rows, columns=columns)


def _alone(sample: Sample) -> tuple[str, str, int, float, float, float, float, str, str]:
    """What one data set and model says by itself."""
    found, mean = combine([sample.values]), float(sample.values.mean())
    low, high = found.interval() if found else (math.nan, math.nan)
    floor = noise_band([sample.variance], [sample.reference_seeds - 1], [len(sample.values)])
    place = "above" if low > 0 else "below" if high < 0 else "unclear"
    place = "inside the noise floor" if place != "unclear" and abs(mean) <= floor else place
    limits = "; ".join(sample.limits)
    return sample.dataset, sample.model, len(sample.values), mean, low, high, floor, place, limits
