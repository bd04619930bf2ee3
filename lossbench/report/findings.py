"""Plain sentences written from the numbers: what they say, and what they do not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from lossbench import stats
from lossbench.report.evidence import Evidence, Study
from lossbench.report.predictions import best_run

HALF_A_POINT = 0.005


def say(evidence: Evidence) -> Iterator[str]:
    """What the runs of this setting say."""
    table = evidence.comparison
    tested = table[table["verdict"] != "same function"]
    judged = tested[tested["verdict"].isin(JUDGED)]
    if len(judged):
        yield _headline(judged)
        yield from _directions(judged)
        yield from _in_between(judged)
    elif "cross_entropy" not in set(evidence.runs["loss"]):
        yield "Nothing here can be compared with cross-entropy, which was not run."
    elif evidence.runs["loss"].nunique() > 1:
        yield "There are too few paired seeds to tell a difference between losses from noise."
    lost = int((tested["verdict"] == "diverged").sum())
    if lost:
        yield f"{_count(lost, 'comparison gets', 'comparisons get')} no verdict because runs diverged."
    yield from _reach(evidence, tested)
    yield from _twins(evidence)
    best = best_run(evidence)
    if best is not None and pd.notna(best["test_accuracy"]):
        yield (
            f"The run with the best {evidence.judged_on} accuracy used {best['label']} with "
            f"{best['function']} (seed {best['seed']}) and reached "
            f"{100 * best['test_accuracy']:.1f} % of the test images. One run is an anecdote; the means "
            "decide."
        )


def answer(studies: Sequence[Study]) -> str:
    """The whole page in one paragraph: how many comparisons stand out, in which direction, how far."""
    found = [
        one.comparison.assign(setting=one.setting.name) for study in studies for one in study.settings if one.compared
    ]
    table = pd.concat(found, ignore_index=True) if found else pd.DataFrame()
    judged = table[table["verdict"].isin(JUDGED)] if len(table) else table
    if judged.empty:
        return "These runs cannot tell: no loss was run beside cross-entropy under two seeds or more."
    if len(found) == 1:
        return _headline(judged)
    above, below = (judged[judged["verdict"] == word] for word in ("above", "below"))
    text = (
        f"In {len(found)} settings, {len(judged)} comparisons with cross-entropy could be judged: {len(below)} lie "
        f"below it and {len(above)} above it by more than the noise floor of their setting, "
        f"{len(judged) - len(above) - len(below)} do not stand out from noise."
    )
    for rows, place, word in ((below, "idxmin", "worst"), (above, "idxmax", "best")):
        if len(rows):
            row = rows.loc[getattr(rows["mean"], place)()]
            text += (
                f" The {word} is {row['label']} with {row['probability']} ({row['setting']}): {_points(row.to_dict())}."
            )
    return text


JUDGED = ("above", "below", "unclear", "within")


def _headline(judged: pd.DataFrame) -> str:
    outside = int(judged["verdict"].isin(["above", "below"]).sum())
    width = _widths(judged["family_floor"])
    if outside == 0:
        return (
            f"No loss differs from cross-entropy by more than the noise floor, in {_all(len(judged))}. That "
            f"is a result: an effect of these losses, if there is one, is not larger than about {width} "
            "points of test accuracy, or it would most likely stand out here."
        )
    return (
        f"{outside} of {_count(len(judged), 'comparison', 'comparisons')} with cross-entropy "
        f"{'lies' if outside == 1 else 'lie'} beyond the noise floor of ±{width} percentage points, a band "
        "drawn wide enough for all of them together."
    )


def _directions(judged: pd.DataFrame) -> Iterator[str]:
    for verdict, word in (("above", "Better"), ("below", "Worse")):
        rows = judged[judged["verdict"] == verdict]
        if len(rows):
            named = [f"{row['label']} with {row['probability']} ({_points(row)})" for row in rows.to_dict("records")]
            yield f"{word} than cross-entropy: {_join(named)}."


def _in_between(judged: pd.DataFrame) -> Iterator[str]:
    rows = judged[judged["verdict"] == "unclear"]
    if len(rows):
        named = [f"{row['label']} with {row['probability']} ({_points(row)})" for row in rows.to_dict("records")]
        yield (
            f"Unclear: {_join(named)}. Beyond the band for one comparison, inside the one for all; among "
            f"{len(judged)} comparisons about {0.05 * len(judged):.1f} land there by chance alone."
        )


def _reach(evidence: Evidence, tested: pd.DataFrame) -> Iterator[str]:
    """How small a difference this many seeds can show."""
    n, comparisons, floor = int(tested["n"].max()) if len(tested) else 0, len(tested), evidence.floor
    if n < 1 or floor.df < 1 or not floor.sd > 0:
        return
    reach, needed = floor.detectable(n, comparisons), stats.sample_size(HALF_A_POINT, floor.sd, comparisons=comparisons)
    yield (
        f"With {_count(n, 'pair', 'pairs')} a comparison and this noise, a true difference of {100 * reach:.1f} points "
        f"would be found in four of five studies like this one. Half a point would take about {needed} seeds."
    )


def _twins(evidence: Evidence) -> Iterator[str]:
    same = stats.same_seed_differences(evidence.runs)
    floor = evidence.floor
    if not same:
        return
    equal = sum(value == 0 for value in same)
    text = (
        "Cross-entropy and KL divergence are one function on one-hot targets. Under the same seed "
        f"{equal} of {len(same)} pairs of runs have exactly the same test accuracy"
    )
    if equal < len(same):
        text += f" (the others differ by up to {100 * max(map(abs, same)):.2f} points, rounding grown by training)"
    if math.isfinite(floor.sd):
        text += (
            f"; under different seeds they lie {100 * floor.sd:.2f} points apart (root mean square). A study "
            "that runs each once would report that as a difference between losses"
        )
    yield text + "."


def do_not_say(evidence: Evidence) -> Iterator[str]:
    """What the runs of this setting cannot say, however clear they look."""
    fields, runs = evidence.setting.fields, evidence.runs
    yield (
        f"Anything about other data, models or budgets: this is {fields['dataset']}, {fields['model']}, "
        f"{_count(int(fields['epochs']), 'epoch', 'epochs')}."
    )
    yield (
        f"That a loss is worse in itself: all used the same learning rate {float(fields['lr']):g}, and "
        "nothing was tuned for any of them."
    )
    yield (
        "That losses inside the noise floor are equal. Absence of evidence at this number of seeds is not "
        "evidence of equality."
    )
    accuracy = float(stats.finished(runs)["test_accuracy"].astype(float).mean())
    images = runs["test_images"].dropna().astype(float).max() if "test_images" in runs else math.nan
    if math.isfinite(accuracy) and math.isfinite(images) and images > 0:
        spread = 100 * math.sqrt(accuracy * (1 - accuracy) / images)
        yield (
            "How the accuracies would move on other test images. Intervals here are over seeds; with "
            f"{images:.0f} test images an accuracy near {100 * accuracy:.0f} % also carries a sampling error "
            f"of about {spread:.1f} points (one standard deviation), which all losses share in part."
        )


def _points(row: dict[object, object]) -> str:
    return f"{100 * float(str(row['mean'])):+.2f}".replace("-", "−") + " points"


def _widths(widths: pd.Series) -> str:
    low, high = 100 * float(widths.min()), 100 * float(widths.max())
    return f"{high:.2f}" if high - low < 0.005 else f"{low:.2f} to {high:.2f}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _all(number: int) -> str:
    return "the one comparison made" if number == 1 else f"all {number} comparisons"


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
