"""One row a loss: the runs as dots, their mean, and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lossbench.plots.style import BLUE, GREY, INK, VERMILLION, axes, fold, marker_of, settle, styles_of
from lossbench.stats.paired import compare, paired_differences
from lossbench.stats.summary import finished, summarise

if TYPE_CHECKING:
    import pandas as pd


def accuracy(
    runs: pd.DataFrame, ax: Any = None, metric: str = "test_accuracy", title: str = "", coverage: float = 0.95
) -> Any:
    """Draw `metric` in percent: a dot a run, a bar at the mean, its t interval over seeds, n at the right.

    A run that diverged is a cross at the left edge. Pass one setting and one probability function.
    """
    return score(runs, ax, metric, title, 100.0, f"{metric.replace('_', ' ')}, %", coverage)


def epochs_to_reach(runs: pd.DataFrame, ax: Any = None, metric: str = "epochs_to_95", title: str = "") -> Any:
    """Draw the epochs that each run needed: a dot a run, a bar at the mean, its t interval over seeds."""
    ax = score(runs, ax, metric, title, 1.0, "epochs")
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
) -> Any:
    """Draw any `metric` times `scale`, as `accuracy` does."""
    rows = summarise(runs, metric, coverage)
    counts = [_count(n, lost) for n, lost in zip(rows["n"], rows["diverged"], strict=True)]
    return _rows(runs, rows, ax, title, metric, scale, unit, counts)


def _count(n: int, lost: int) -> str:
    return f"n={n}" + (f", {lost} div." if lost else "")


def _rows(
    runs: pd.DataFrame,
    rows: pd.DataFrame,
    ax: Any,
    title: str,
    metric: str,
    scale: float,
    unit: str,
    counts: Sequence[str],
) -> Any:
    ax = axes(ax)
    styles = styles_of(runs)
    marker = marker_of(str(runs["probability"].iloc[0]))
    done = finished(runs, metric)
    for place, row in enumerate(rows.to_dict("records")):
        values = scale * done[done["label"] == row["label"]][metric].to_numpy(dtype=float)
        _interval(ax, place, scale * row["low"], scale * row["high"], scale * row["mean"])
        _dots(ax, place, values, styles[row["label"]].colour, marker)
        if row["diverged"]:
            edge = ax.get_yaxis_transform()
            ax.plot(0.015, place, "x", color=INK, markersize=6, transform=edge, clip_on=False)
    _name_rows(ax, list(rows["label"]), counts)
    return settle(ax, title, unit)


def _interval(ax: Any, place: float, low: float, high: float, mean: float) -> None:
    if np.isfinite(low):
        ax.plot([low, high], [place, place], color=GREY, linewidth=3.5, alpha=0.55, solid_capstyle="butt")
    if np.isfinite(mean):
        ax.plot([mean, mean], [place - 0.3, place + 0.3], color=INK, linewidth=1.6)


def _dots(ax: Any, place: float, values: np.ndarray, colour: str, marker: str) -> None:
    # Equal values would hide each other, so the dots are spread a little, in a fixed order.
    spread = np.linspace(-0.13, 0.13, len(values)) if len(values) > 1 else np.zeros(len(values))
    ax.plot(values, place + spread, marker, color=colour, markersize=4.5, markeredgecolor=INK, markeredgewidth=0.5)


def _name_rows(ax: Any, labels: Sequence[str], counts: Sequence[str]) -> None:
    ax.set_yticks(range(len(labels)), [fold(label) for label in labels])
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.6)
    for place, text in enumerate(counts):
        ax.annotate(text, (1.01, place), xycoords=ax.get_yaxis_transform(), fontsize=7, color=INK, va="center")


def differences(
    runs: pd.DataFrame,
    ax: Any = None,
    metric: str = "test_accuracy",
    title: str = "",
    comparison: pd.DataFrame | None = None,
    floor: Any | None = None,
) -> Any:
    """Draw each loss minus cross-entropy, paired by seed, in percentage points, over the noise floor.

    A dot a pair, a bar at the mean, its t interval; behind each row the band that holds the mean if the loss
    does not matter: dark for this one comparison, light for all comparisons of `comparison` at once.

    Args:
        runs: one setting and one probability function.
        comparison: the rows of `stats.compare` to draw; computed from `runs` by default.
        floor: passed to `stats.compare` when `comparison` is left out.
    """
    ax = axes(ax)
    rows = compare(runs, metric, floor=floor) if comparison is None else comparison
    pairs = paired_differences(runs, metric)
    styles = styles_of(runs)
    marker = marker_of(str(runs["probability"].iloc[0]))
    for place, row in enumerate(rows.to_dict("records")):
        for half, alpha in ((row["family_floor"], 0.16), (row["floor"], 0.24)):
            if np.isfinite(half):
                ax.barh(place, 200 * half, left=-100 * half, height=0.86, color=GREY, alpha=alpha, linewidth=0)
        _interval(ax, place, 100 * row["low"], 100 * row["high"], 100 * row["mean"])
        values = 100 * pairs[pairs["label"] == row["label"]]["difference"].to_numpy(dtype=float)
        _dots(ax, place, values, styles[row["label"]].colour, marker)
    ax.axvline(0, color=INK, linewidth=0.8)
    counts = [_count(n, lost) for n, lost in zip(rows["n"], rows["diverged"], strict=True)]
    _name_rows(ax, list(rows["label"]), counts)
    return settle(ax, title, "minus cross-entropy, percentage points")


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
    _name_rows(ax, list(table["name"]), [f"n={n}" for n in table["n"]])
    return settle(ax, title, "minus cross-entropy, percentage points")
