"""The figures of one setting."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from lossbench import plots, stats
from lossbench.plots.style import INSIDE
from lossbench.report.evidence import Evidence
from lossbench.report.figures import Figure, Panel


def accuracy(evidence: Evidence) -> Figure:
    """Test accuracy of every loss, a panel a probability function."""
    return _rows_figure(
        evidence,
        "accuracy",
        "Test accuracy",
        "test_accuracy",
        100.0,
        plots.accuracy,
        "Test accuracy in percent. Each mark is one run; the upright line is the mean, the grey bar "
        f"{_interval()}. A cross at the left edge is a run that diverged. All panels share one scale, which "
        "does not start at 0.",
    )


def epochs(evidence: Evidence) -> Figure:
    """Epochs to 95 % of the last accuracy, a panel a probability function."""
    return _rows_figure(
        evidence,
        "epochs",
        "Epochs to 95 % of the final accuracy",
        "epochs_to_95",
        1.0,
        plots.epochs_to_reach,
        f"First epoch whose {evidence.judged_on} accuracy is at least 95 % of the same run's accuracy after "
        f"its last epoch. Each mark is one run; the upright line is the mean, the grey bar {_interval()}.",
    )


def _interval() -> str:
    return (
        "its 95 % interval (Student's t over seeds; a seed changes the validation split, the first weights "
        "and the order of the images; n at the right)"
    )


def _rows_figure(
    evidence: Evidence,
    name: str,
    title: str,
    metric: str,
    scale: float,
    draw: Callable[..., Any],
    caption: str,
) -> Figure:
    parts = evidence.by_probability()
    summary = stats.summarise(evidence.runs, metric)
    values = scale * stats.finished(evidence.runs, metric)[metric].to_numpy(dtype=float)
    ends = scale * summary[["low", "high"]].to_numpy(dtype=float).ravel()
    limits, cut = _limits(values, ends)
    panels = []
    for label, runs in parts:
        rows = summary[summary["probability"] == label]
        said = [_say(row, scale) for row in rows.to_dict("records")]
        alt = f"{title} with {label}, a row a loss. " + "; ".join(said) + "."
        panels.append(Panel(partial(_within, partial(draw, runs, metric=metric, title=label), limits), alt))
    height = 0.8 + 0.32 * max(runs["label"].nunique() for _, runs in parts)
    caption += " Bars cut by the frame go on beyond it; their ends are in the table." if cut else ""
    return Figure(f"{evidence.slug}-{name}", title, caption, panels, height)


def _say(row: dict[Any, Any], scale: float) -> str:
    if not row["n"]:
        return f"{row['label']}: no finished run"
    interval = f", interval {scale * row['low']:.1f} to {scale * row['high']:.1f}" if row["n"] > 1 else ""
    lost = f", {row['diverged']} diverged" if row["diverged"] else ""
    return f"{row['label']}: mean {scale * row['mean']:.1f}{interval}, {row['n']} runs{lost}"


def _within(draw: Callable[[Any], Any], limits: tuple[float, float] | None, ax: Any) -> Any:
    draw(ax)
    if limits is not None:
        ax.set_xlim(*limits)
    return ax


def _limits(values: np.ndarray, ends: np.ndarray) -> tuple[tuple[float, float] | None, bool]:
    """One scale for all panels. Intervals from two runs can dwarf the runs, so they may be cut."""
    if not len(values):
        return None, False
    span = max(float(np.ptp(values)), 1e-3 * abs(float(values.mean())), 1e-6)
    low, high = values.min() - 0.6 * span, values.max() + 0.6 * span
    kept = ends[np.isfinite(ends)]
    cut = bool(((kept < low) | (kept > high)).any())
    wanted = np.concatenate([values, np.clip(kept, low, high)])
    return (float(wanted.min() - 0.06 * span), float(wanted.max() + 0.06 * span)), cut


def differences(evidence: Evidence) -> Figure:
    """Each loss minus cross-entropy, paired by seed, over the noise floor."""
    runs = evidence.runs
    table = evidence.comparison
    values = 100 * stats.paired_differences(runs)["difference"].to_numpy(dtype=float)
    bands = 100 * table[["family_floor", "floor"]].to_numpy(dtype=float).ravel()
    ends = 100 * table[["low", "high"]].to_numpy(dtype=float).ravel()
    around = np.concatenate([values, [0.0], bands[np.isfinite(bands)], -bands[np.isfinite(bands)]])
    limits, cut = _limits(around, ends)
    panels = []
    for label, part in evidence.by_probability():
        rows = table[table["probability"] == label]
        if rows.empty:
            continue
        said = [
            f"{row['label']}: {100 * row['mean']:+.2f} points over {row['n']} pairs, {VERDICTS[row['verdict']]}"
            for row in rows.to_dict("records")
        ]
        alt = f"Accuracy minus that of cross-entropy with {label}, a row a loss. " + "; ".join(said) + "."
        draw = partial(plots.differences, part, title=label, comparison=rows)
        panels.append(Panel(partial(_within, draw, limits), alt))
    height = 0.8 + 0.34 * int(table.groupby("probability").size().max())
    title = "Difference to cross-entropy, paired by seed"
    return Figure(f"{evidence.slug}-differences", title, _floor_caption(evidence, table, cut), panels, height)


VERDICTS = {
    "above": "better, beyond the floor",
    "below": "worse, beyond the floor",
    "unclear": "unclear",
    "within": "within the floor",
    "same function": "the same function",
    "diverged": "no verdict, runs diverged",
    "unknown": "no verdict, too few runs",
}


def _floor_caption(evidence: Evidence, table: pd.DataFrame, cut: bool) -> str:
    floor = evidence.floor
    text = (
        "Test accuracy minus that of cross-entropy under the same seed and probability function, in "
        "percentage points. Each mark is one pair of runs; the upright line is the mean, the grey bar its 95 "
        "% interval (Student's t over pairs). "
    )
    if floor.df < 1:
        return text + "There is no noise floor: it needs cross-entropy under at least two seeds."
    other = "KL divergence" if floor.against == "kl_divergence" else "cross-entropy itself"
    tested = int((table["verdict"] != "same function").sum())
    text += (
        f"Shaded: the noise floor. Cross-entropy under seed i minus {other} under seed j, i ≠ j, is a "
        f"difference between two runs of one function; its root mean square is {100 * floor.sd:.2f} points "
        f"({floor.pairs} ordered pairs, {floor.df} degrees of freedom, pooled over probability functions). "
        "The mean of n such differences between independent runs spreads by this divided by √n. The dark "
        "band holds it in 95 % of cases for one comparison (Student's t), the wide light band for "
        f"all {tested} comparisons at once (Bonferroni). "
        "If pairing by seed removes noise, the band is too wide rather than too narrow."
    )
    return text + (" Bars cut by the frame go on beyond it." if cut else "")


def curves(evidence: Evidence) -> Figure:
    """Accuracy over the epochs, a panel a probability function."""
    history = evidence.history.assign(
        function=stats.probability_labels(evidence.history), accuracy=evidence.history["curve"]
    )
    found = history["accuracy"].dropna()
    # A first epoch at chance level would flatten all that follows, so at most 45 points are shown.
    limits = (max(found.min(), found.max() - 0.45) * 100 - 1, found.max() * 100 + 1) if len(found) else (0, 100)
    panels = []
    for label, _ in evidence.by_probability():
        part = history[history["function"] == label]
        last = part[part["epoch"] == part["epoch"].max()].groupby("label", sort=False)["accuracy"].mean()
        ends = ", ".join(f"{name} {100 * value:.1f} %" for name, value in last.items())
        alt = f"{evidence.judged_on} accuracy over the epochs with {label}. After the last epoch: {ends}."
        draw = partial(plots.learning_curves, part, column="accuracy", title=label)
        panels.append(Panel(partial(_between, draw, limits), alt))
    caption = (
        f"Accuracy on the {evidence.judged_on} images after each epoch: mean over the seeds, the shade its "
        f"95 % interval (Student's t over {_seeds(evidence.runs)}). The vertical scale does not start at 0."
    )
    if {"cross_entropy", "kl_divergence"} <= set(evidence.runs["loss"]):
        caption += " Cross-entropy and KL divergence lie on top of each other where their runs are identical."
    return Figure(f"{evidence.slug}-curves", "Learning curves", caption, panels, 2.9 + legend_room(evidence.runs))


def legend_room(runs: pd.DataFrame) -> float:
    """Inches for a legend below the frame, where the losses are too many for one inside."""
    losses = runs["label"].nunique()
    return 0.0 if losses <= INSIDE else 0.3 + 0.15 * losses


def _seeds(runs: pd.DataFrame) -> str:
    return f"{between(runs.groupby([stats.probability_labels(runs), 'label'])['seed'].nunique())} seeds"


def between(counts: pd.Series) -> str:
    """A count, or the range of counts where they differ."""
    few, most = int(counts.min()), int(counts.max())
    return str(few) if few == most else f"{few} to {most}"


def _between(draw: Callable[..., Any], limits: tuple[float, float], ax: Any) -> Any:
    draw(ax=ax)
    ax.set_ylim(*limits)
    return ax
