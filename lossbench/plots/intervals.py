"""One row a loss: the runs as dots, their mean, and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lossbench.plots.style import (
    BLUE,
    FIGURE_FONT,
    GREY,
    INK,
    VERMILLION,
    axes,
    fold,
    marker_of,
    settle,
    styles_of,
    title_of,
)
from lossbench.stats.paired import LEAST_PAIRS, OUTCOMES, UNDECIDED, Outcome, compare, paired_differences
from lossbench.stats.summary import finished, summarise

if TYPE_CHECKING:
    import pandas as pd


def accuracy(
    runs: pd.DataFrame, ax: Any = None, metric: str = "test_accuracy", title: str = "", coverage: float = 0.95
) -> Any:
    """Draw `metric` in percent: a dot a run, a bar at the mean, its t interval over seeds, n at the right.

    A run that diverged is a cross at the left edge. Pass one setting and one probability function.
    """
    return score(runs, ax, metric, title, 100.0, f"{outcome_of(metric).title}, %", coverage)


def epochs_to_reach(runs: pd.DataFrame, ax: Any = None, metric: str = "epochs_to_95", title: str = "") -> Any:
    """Draw the epochs that each run needed: a dot a run, a bar at the mean, its t interval over seeds."""
    ax = score(runs, ax, metric, title, 1.0, "epochs", least=0.0)
    ax.xaxis.get_major_locator().set_params(integer=True)
    return ax


def score(
    runs: pd.DataFrame,
    ax: Any = None,
    metric: str = "test_accuracy",
    title: str = "",
    scale: float = 1.0,
    unit: str = "",
    coverage: float = 0.95,
    least: float = -np.inf,
) -> Any:
    """Draw any `metric` times `scale`, as `accuracy` does; intervals end at `least`, below which no score can be."""
    ax = axes(ax)
    rows = summarise(runs, metric, coverage)
    done, styles = finished(runs, metric), styles_of(runs)
    for place, row in enumerate(rows.to_dict("records")):
        values = scale * done[done["label"] == row["label"]][metric].to_numpy(dtype=float)
        low, high, mean = (scale * row[name] for name in ("low", "high", "mean"))
        _interval(ax, place, max(low, least), high, mean, len(values))
        _dots(ax, place, values, styles[row["label"]].colour, marker_of(str(runs["probability"].iloc[0])))
        if row["diverged"]:
            edge = ax.get_yaxis_transform()
            ax.plot(0.015, place, "x", color=INK, markersize=6, transform=edge, clip_on=False)
    counts = [
        f"n={n}" + (f", {lost} div." if lost else "") for n, lost in zip(rows["n"], rows["diverged"], strict=True)
    ]
    name_rows(ax, [title_of(*pair) for pair in zip(rows["loss"], rows["label"], strict=True)], counts)
    return settle(ax, title, unit)


def outcome_of(metric: str) -> Outcome:
    """How differences of a column of scores are read; a column that is not known is shown as it is."""
    return OUTCOMES.get(metric) or Outcome(metric.removeprefix("test_").replace("_", " "))


def difference_label(metric: str, reference: str = "cross_entropy") -> str:
    """The label of an axis of differences, with its unit."""
    outcome = outcome_of(metric)
    label = f"{outcome.title} minus that of {title_of(reference, reference)}"
    label += f", {outcome.unit}" if outcome.unit else ""
    return label if outcome.higher_is_better else f"{label}\n(lower is better)"


def draw_margin(ax: Any, margin: float, text: bool = True) -> None:
    """Shade the differences that are too small to matter, as far as a margin was stated; a line at 0."""
    if np.isfinite(margin):
        ax.axvspan(-margin, margin, color=GREY, alpha=0.2, linewidth=0)
        if text:
            place = {"xycoords": ax.get_xaxis_transform(), "xytext": (0, 2), "textcoords": "offset points"}
            ax.annotate("too small to matter", (0, 1), ha="center", fontsize=FIGURE_FONT - 2, color=GREY, **place)
    ax.axvline(0, color=INK, linewidth=0.8)


def differences(
    runs: pd.DataFrame,
    ax: Any = None,
    metric: str = "test_accuracy",
    title: str = "",
    comparison: pd.DataFrame | None = None,
    *,
    margin: float | None = None,
    tuned: Sequence[str] = (),
) -> Any:
    """Draw each loss minus cross-entropy, paired by seed: a dot a pair, a bar at the mean, its t interval, the word.

    The band holds what is too small to matter. Below the word stand the number of pairs and, where it is undecided,
    how many would decide.

    Args:
        runs: one setting; with several probability functions each has its rows.
        comparison: the rows of `stats.compare` to draw; computed from `runs` by default.
        margin, tuned: passed to `stats.compare` when `comparison` is left out.
    """
    ax = axes(ax)
    rows = compare(runs, metric, margin=margin, tuned=tuned) if comparison is None else comparison
    pairs = paired_differences(runs, metric, tuned=tuned)
    styles, scale = styles_of(runs), outcome_of(metric).scale
    several = rows["probability"].nunique() > 1
    draw_margin(ax, scale * float(rows["margin"].max()) if len(rows) else np.nan)
    names = []
    for place, row in enumerate(rows.to_dict("records")):
        own = pairs[(pairs["label"] == row["label"]) & (pairs["probability"] == row["probability"])]
        values = scale * own["difference"].to_numpy(dtype=float)
        low, high, mean = (scale * row[name] for name in ("low", "high", "mean"))
        _interval(ax, place, low, high, mean, len(values))
        _dots(ax, place, values, styles[row["label"]].colour, marker_of(str(runs["probability"].iloc[0])))
        names.append(title_of(row["loss"], row["label"]) + (f", {row['probability']}" if several else ""))
    name_rows(ax, names, [_verdict(row) for row in rows.to_dict("records")])
    return settle(ax, title, difference_label(metric), pad=14)


def _verdict(row: dict[Any, Any]) -> str:
    text = f"{row['verdict']}\nn={row['n']}"
    text += f", {row['diverged']} div." if row["diverged"] else ""
    return text + (f", needs {int(row['needed']):,}" if row["verdict"] == UNDECIDED and row["needed"] > 0 else "")


def _interval(ax: Any, place: float, low: float, high: float, mean: float, n: int) -> None:
    if n >= LEAST_PAIRS and np.isfinite(low):
        ax.plot([low, high], [place, place], color=GREY, linewidth=3.5, alpha=0.55, solid_capstyle="butt")
    if np.isfinite(mean):
        ax.plot([mean, mean], [place - 0.3, place + 0.3], color=INK, linewidth=1.6)


def _dots(ax: Any, place: float, values: np.ndarray, colour: str, marker: str) -> None:
    # Equal values would hide each other, so the dots are spread a little, in a fixed order.
    spread = np.linspace(-0.13, 0.13, len(values)) if len(values) > 1 else np.zeros(len(values))
    ax.plot(values, place + spread, marker, color=colour, markersize=4.5, markeredgecolor=INK, markeredgewidth=0.5)


def name_rows(ax: Any, labels: Sequence[str], counts: Sequence[str]) -> None:
    """Name the rows at the left, from the top, and set a text at the right of each."""
    ax.set_yticks(range(len(labels)), [fold(label) for label in labels])
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.6)
    for place, text in enumerate(counts):
        ax.annotate(text, (1.01, place), xycoords=ax.get_yaxis_transform(), fontsize=7, color=INK, va="center")


def published_and_measured(table: pd.DataFrame, ax: Any = None, title: str = "") -> Any:
    """Draw each loss minus cross-entropy as a paper prints it (open diamond) and as it was measured (dot, interval).

    Args:
        table: a row a configuration with `name`, `published`, `mean`, `low` and `high`, differences as fractions.
    """
    ax = axes(ax)
    for place, row in enumerate(table.to_dict("records")):
        if np.isfinite(row["low"]):
            ends = [100 * row["low"], 100 * row["high"]]
            ax.plot(ends, [place, place], color=BLUE, linewidth=3.5, alpha=0.35, solid_capstyle="butt")
        ax.plot(100 * row["mean"], place, "o", color=BLUE, markersize=5, zorder=3)
        look = {"markerfacecolor": "none", "markeredgewidth": 1.4}
        ax.plot(100 * row["published"], place, "D", color=VERMILLION, markersize=6, zorder=4, **look)
    ax.axvline(0, color=INK, linewidth=0.8)
    name_rows(ax, list(table["name"]), [f"n={n}" for n in table["n"]])
    return settle(ax, title, "minus cross-entropy, percentage points")
