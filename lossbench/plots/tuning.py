"""Figures of a tuned study: a line a loss, from the tables of its trials and finals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lossbench.plots.runs import difference_label, draw_margin, name_rows
from lossbench.plots.style import BLUE, GREY, INK, VERMILLION, Style, axes, loss_styles, name_ends, settle, title_of
from lossbench.stats.paired import OUTCOMES
from lossbench.stats.runs import REFERENCE
from lossbench.stats.tuning import best_of, best_of_band, final_differences, trial_scores

BINS = 6


def best_of_trials(trials: pd.DataFrame, ax: Any = None, title: str = "", band: bool = True) -> Any:
    """Draw the expected best validation accuracy of n trials, a line a loss, with 95 % bootstrap bands.

    That of cross-entropy is filled; those of the others stand beside the last trial, where they hide no line.

    Args:
        trials: columns `loss study point val_accuracy status`, every point of every study.
        band: whether to draw them.
    """
    ax = axes(ax)
    styles = _styles(trials)
    ends = {}
    for i, (loss, scores) in enumerate(trial_scores(trials).items()):
        line, name = 100 * best_of(scores), title_of(loss, loss)
        count = np.arange(1, len(line) + 1)
        if band:
            low, high = (100 * edge for edge in best_of_band(scores))
            if loss == REFERENCE:
                ax.fill_between(count, low, high, color=GREY, alpha=0.18, linewidth=0)
            x = count[-1] + 0.3 + 0.12 * i
            ax.plot([x, x], [low[-1], high[-1]], color=styles[name].colour, linewidth=1, alpha=0.8)
        ax.plot(count, line, color=styles[name].colour, linestyle=styles[name].line, linewidth=1.5)
        ends[name] = (float(count[-1]), float(line[-1]))
    _limit(ax, [y for _, y in ends.values()])
    ax.xaxis.get_major_locator().set_params(integer=True)
    settle(ax, title, "trials", "best validation accuracy, %")
    name_ends(ax, ends, styles)
    return ax


def accuracy_by_rate(trials: pd.DataFrame, ax: Any = None, title: str = "") -> Any:
    """Draw validation accuracy against learning rate: a dot a trial, a line a loss through the means of equal steps."""
    ax = axes(ax)
    styles = _styles(trials)
    done = trials[trials["status"] == "finished"]
    ends = {}
    for loss, rows in done.groupby("loss", sort=False):
        name = title_of(str(loss), str(loss))
        rate, score = np.log10(rows["lr"].to_numpy(float)), 100 * rows["val_accuracy"].to_numpy(float)
        edges = np.linspace(rate.min(), rate.max() + 1e-9, BINS + 1)
        place = np.clip(np.digitize(rate, edges) - 1, 0, BINS - 1)
        filled = [i for i in range(BINS) if (place == i).any()]
        x = np.array([10 ** rate[place == i].mean() for i in filled])
        y = np.array([score[place == i].mean() for i in filled])
        ax.plot(10**rate, score, ".", color=styles[name].colour, markersize=2.5, alpha=0.35)
        ax.plot(x, y, color=styles[name].colour, linestyle=styles[name].line, linewidth=1.5)
        ends[name] = (float(x[-1]), float(y[-1]))
    ax.set_xscale("log")
    _limit(ax, list(100 * done.groupby("loss")["val_accuracy"].median()))
    settle(ax, title, "learning rate", "validation accuracy, %")
    name_ends(ax, ends, styles)
    return ax


def tuned_differences(finals: pd.DataFrame, table: pd.DataFrame, ax: Any = None, title: str = "") -> Any:
    """Draw each tuned loss minus tuned cross-entropy: a small dot a pair, a large one a study, bar and interval.

    Args:
        finals: as for `stats.tuning.judge_finals`; `table` is what that returns for test accuracy.
    """
    ax = axes(ax)
    pairs = final_differences(finals)
    styles, scale = _styles(finals), OUTCOMES["test_accuracy"].scale
    band = draw_margin(ax, scale * float(table["margin"].max()) if len(table) else np.nan)
    rows = table.to_dict("records")
    names = [title_of(row["loss"], row["loss"]) for row in rows]
    for i, (name, row) in enumerate(zip(names, rows, strict=True)):
        own = pairs[pairs["loss"] == row["loss"]]
        if np.isfinite(row["low"]):
            ax.plot([scale * row["low"], scale * row["high"]], [i, i], color=GREY, linewidth=3.5, alpha=0.55)
        ax.plot([scale * row["mean"]] * 2, [i - 0.3, i + 0.3], color=INK, linewidth=1.6)
        look = {"color": styles[name].colour, "markeredgecolor": INK, "markeredgewidth": 0.5}
        ax.plot(scale * own["difference"], np.full(len(own), i + 0.2), "o", markersize=2.2, **look)
        means = own.groupby("study")["difference"].mean()
        ax.plot(scale * means, np.full(len(means), i), "o", markersize=5, **look)
    name_rows(ax, names, [f"{row['verdict']}\n{row['n']} pairs, {row['draws']} studies" for row in rows])
    return settle(ax, title, difference_label("test_accuracy") + band)


def intervals(table: pd.DataFrame, ax: Any = None, title: str = "", margin: float = np.nan) -> Any:
    """Draw differences of shares to cross-entropy in points, a row of the table each: dot, 95 % interval, a note.

    Args:
        table: columns `name mean low high note`, and `marked`, where some rows shall stand out.
        margin: smallest difference that matters, as a fraction.
    """
    ax = axes(ax)
    band = draw_margin(ax, 100 * margin)
    marked = list(table["marked"]) if "marked" in table else [False] * len(table)
    for i, (row, mark) in enumerate(zip(table.to_dict("records"), marked, strict=True)):
        colour = VERMILLION if mark else BLUE
        if np.isfinite(row["low"]):
            ax.plot([100 * row["low"], 100 * row["high"]], [i, i], color=colour, linewidth=3.5, alpha=0.4)
        ax.plot(100 * row["mean"], i, "o", color=colour, markersize=5, markeredgecolor=INK, markeredgewidth=0.5)
    reach = 100 * max(4 * margin if np.isfinite(margin) else 0.0, 3 * float(table["mean"].abs().max()))
    low, high = ax.get_xlim()  # an interval from few studies may be wider than all that it is about
    ax.set_xlim(max(low, -reach), min(high, reach))
    name_rows(ax, list(table["name"]), list(table["note"]))
    return settle(ax, title, "minus cross-entropy, points" + band)


def ranks_before_and_after(table: pd.DataFrame, ax: Any = None, title: str = "") -> Any:
    """Draw each loss's rank at its default and after tuning, joined by a line; rank 1 is at the top.

    Args:
        table: what `stats.tuning.tuning_table` returns.
    """
    ax = axes(ax)
    styles = _styles(table)
    ends = {}
    for row in table.dropna(subset=["rank_before", "rank_after"]).to_dict("records"):
        name = title_of(row["loss"], row["loss"])
        y = [row["rank_before"], row["rank_after"]]
        ax.plot([0, 1], y, "o", linestyle=styles[name].line, color=styles[name].colour, linewidth=1.5, markersize=4)
        ends[name] = (1.0, float(y[1]))
    ax.set_xlim(-0.1, 1.1)
    ax.set_ylim(len(table) + 0.5, 0.5)
    ax.set_xticks([0, 1], ["default", "tuned"])
    settle(ax, title, "", "rank by test accuracy")
    for name, (x, rank) in ends.items():
        ax.annotate(name, (x + 0.06, rank), fontsize=7.5, color=styles[name].colour, va="center", annotation_clip=False)
    return ax


def _styles(table: pd.DataFrame) -> dict[str, Style]:
    """The style of each loss by its title."""
    losses = list(dict.fromkeys(map(str, table["loss"])))
    styles = loss_styles((loss, loss) for loss in losses)
    return {title_of(loss, loss): styles[loss] for loss in losses}


def _limit(ax: Any, good: list[float]) -> None:
    """Let the axis show where losses are good: a trial that failed would press everything else into one line."""
    if good:
        best, middle = max(good), float(np.median(good))
        ax.set_ylim(max(0.0, best - max(4.0, 4 * (best - middle))), min(100.0, best + 1.0))
