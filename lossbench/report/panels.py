"""The figures of one setting: scores, differences and learning."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from lossbench import plots, stats
from lossbench.claims.wording import number
from lossbench.plots.style import INSIDE
from lossbench.report.drawing import Figure, Panel
from lossbench.report.evidence import Evidence
from lossbench.report.text import say, span

MOST_LOSSES = 8  # lines that can be told apart


def accuracy(evidence: Evidence) -> Figure:
    """Test accuracy of every loss, a panel a probability function."""
    return _scores(evidence, "accuracy", "test_accuracy", 100.0, plots.accuracy)


def epochs(evidence: Evidence) -> Figure:
    """Epochs to 95 % of the last accuracy, a panel a probability function."""
    return _scores(evidence, "epochs", "epochs_to_95", 1.0, plots.epochs_to_reach)


def _scores(evidence: Evidence, name: str, metric: str, scale: float, draw: Callable[..., Any]) -> Figure:
    parts = evidence.by_probability()
    summary = stats.summarise(evidence.runs, metric)
    values = scale * stats.finished(evidence.runs, metric)[metric].to_numpy(dtype=float)
    limits, cut = _limits(values, scale * summary[["low", "high"]].to_numpy(dtype=float).ravel())
    panels = []
    for label, runs in parts:
        rows = summary[summary["probability"] == label].to_dict("records")
        shown = "; ".join(f"{evidence.titles[row['label']]}: {_in_words(row, scale)}" for row in rows)
        alt = f"{name.capitalize()} with {label}, a row a loss. {shown}."
        panels.append(Panel(_within(partial(draw, runs, metric=metric, title=label), limits), alt))
    height = 0.8 + 0.32 * max(runs["label"].nunique() for _, runs in parts)
    return Figure(
        f"{evidence.slug}-{name}", say(f"figure_{name}", judged_on=evidence.judged_on, cut=cut), panels, height
    )


def _in_words(row: dict[Any, Any], scale: float) -> str:
    if not row["n"]:
        return "no finished run"
    interval = f", interval {scale * row['low']:.1f} to {scale * row['high']:.1f}" if row["n"] > 1 else ""
    lost = f", {row['diverged']} diverged" if row["diverged"] else ""
    return f"mean {scale * row['mean']:.1f}{interval}, {row['n']} runs{lost}"


def _within(draw: Callable[..., Any], x: Any = None, y: Any = None) -> Callable[..., Any]:
    """Draw, then set the limits that panels share."""

    def drawn(ax: Any) -> Any:
        draw(ax=ax)
        return ax.set(**{name: limits for name, limits in (("xlim", x), ("ylim", y)) if limits is not None})

    return drawn


def _limits(values: np.ndarray, ends: np.ndarray) -> tuple[tuple[float, float] | None, bool]:
    """One scale for all panels. Intervals from few runs can dwarf the runs, so they may be cut."""
    if not len(values):
        return None, False
    extent = max(float(np.ptp(values)), 1e-3 * abs(float(values.mean())), 1e-6)
    low, high = values.min() - 0.6 * extent, values.max() + 0.6 * extent
    finite = ends[np.isfinite(ends)]
    cut = bool(((finite < low) | (finite > high)).any())
    wanted = np.concatenate([values, np.clip(finite, low, high)])
    return (float(wanted.min() - 0.06 * extent), float(wanted.max() + 0.06 * extent)), cut


def differences(evidence: Evidence) -> Figure:
    """Each loss minus cross-entropy, paired by seed, with the word that is said of it."""
    table = evidence.comparison
    margin = 100 * table["margin"].to_numpy(dtype=float)
    values = 100 * stats.paired_differences(evidence.runs, tuned=evidence.tuned)["difference"].to_numpy(dtype=float)
    ends = 100 * table[["low", "high"]].to_numpy(dtype=float).ravel()
    limits, cut = _limits(np.concatenate([values, [0.0], 1.1 * margin, -1.1 * margin]), ends)
    panels = []
    for label, runs in evidence.by_probability():
        rows = table[table["probability"] == label]
        if rows.empty:
            continue
        shown = "; ".join(
            f"{evidence.titles[row['label']]}: {number(100 * row['mean'], 2, sign=True)} points over {row['n']} pairs, "
            f"{row['verdict']}"
            for row in rows.to_dict("records")
        )
        alt = f"Test accuracy minus that of cross-entropy with {label}, a row a loss. {shown}."
        panels.append(
            Panel(
                _within(partial(plots.differences, runs, title=label, comparison=rows, tuned=evidence.tuned), limits),
                alt,
            )
        )
    height = 1.0 + 0.36 * int(table.groupby("probability").size().max())
    caption = say(
        "figure_differences", margin=float(margin.max()), cut=cut, seeds=span(table["n"]), coverage=evidence.coverage
    )
    return Figure(f"{evidence.slug}-differences", caption, panels, height)


def curves(evidence: Evidence) -> Figure:
    """Accuracy over the epochs, a panel a probability function; last, differences to cross-entropy under the first."""
    history = evidence.history.assign(
        function=stats.probability_labels(evidence.history), accuracy=evidence.history["curve"]
    )
    labels = list(dict.fromkeys(evidence.runs["label"]))
    history = history[history["label"].isin(labels[:MOST_LOSSES])]
    reached = history["accuracy"].dropna()
    # A first epoch at chance level would flatten all that follows, so at most 45 points are shown.
    limits = (max(reached.min(), reached.max() - 0.45) * 100 - 1, reached.max() * 100 + 1) if len(reached) else (0, 100)
    panels = []
    for label, _ in evidence.by_probability():
        part = history[history["function"] == label]
        last = part[part["epoch"] == part["epoch"].max()].groupby("label", sort=False)["accuracy"].mean()
        ends = ", ".join(f"{evidence.titles[name]} {100 * value:.1f} %" for name, value in last.items())
        alt = f"Accuracy on the {evidence.judged_on} images with {label}. After the last epoch: {ends}."
        draw = partial(plots.learning_curves, part, column="accuracy", title=label)
        panels.append(Panel(_within(draw, y=limits), alt))
    label, runs = evidence.by_probability()[0]
    paired = history["epoch"].nunique() > 1 and runs["loss"].nunique() > 1 and "cross_entropy" in set(runs["loss"])
    if paired:
        part = history[history["function"] == label]
        draw = partial(plots.learning_curves, part, column="accuracy", title=f"differences, {label}")
        alt = f"The same with {label}: each loss minus cross-entropy under the same seed, epoch by epoch, in points."
        panels.append(Panel(partial(draw, reference="cross_entropy"), alt))
    seeds = evidence.runs.groupby([stats.probability_labels(evidence.runs), "label"])["seed"].nunique()
    caption = say(
        "figure_curves",
        judged_on=evidence.judged_on,
        seeds=span(seeds),
        paired=paired,
        left_out=len(labels[MOST_LOSSES:]),
    )
    return Figure(f"{evidence.slug}-curves", caption, panels, 3.0)


def by_loss_and_probability(evidence: Evidence) -> Figure | None:
    """Accuracy, and its difference to cross-entropy with the first function, of every loss under every function."""
    functions = [name for name, _ in evidence.by_probability()]
    if len(functions) < 2 or evidence.runs["label"].nunique() < 2:
        return None
    order = list(dict.fromkeys(evidence.runs["label"]))
    corner = _corner(evidence)
    panels = []
    for cells, title, centre in (
        (stats.summarise(evidence.runs), "Test accuracy, %", None),
        (corner, f"Minus cross-entropy, {functions[0]}", 0.0),
    ):
        table = 100 * cells.pivot_table(index="label", columns="probability", values="mean", sort=False, dropna=False)
        table = table.reindex(order)[[name for name in functions if name in table]].rename(index=evidence.titles)
        if table.notna().any(axis=None):
            draw = partial(plots.heat_map, table, title=title, centre=centre)
            panels.append(Panel(draw, table_in_words(title, table, sign=centre is not None)))
    pairs = int(corner["n"].min()) if len(corner) else 0
    caption = say("figure_heat", pairs=pairs, reference=functions[0])
    return Figure(f"{evidence.slug}-heat", caption, panels, 1.2 + 0.3 * len(order))


def _corner(evidence: Evidence) -> pd.DataFrame:
    """Mean difference of every cell to cross-entropy under the first function: `label probability mean n`."""
    done = stats.finished(evidence.runs).assign(probability=stats.probability_labels)
    first = evidence.by_probability()[0][0]
    base = done[(done["loss"] == "cross_entropy") & (done["probability"] == first)]
    pairs = done.merge(base[["seed", "test_accuracy"]], on="seed", suffixes=("", "_base"))
    pairs["difference"] = pairs["test_accuracy"].astype(float) - pairs["test_accuracy_base"].astype(float)
    cells = pairs.groupby(["label", "probability"], sort=False)["difference"].agg(["mean", "size"]).reset_index()
    return cells.rename(columns={"size": "n"})


def table_in_words(what: str, table: pd.DataFrame, sign: bool = False) -> str:
    """A table as the text of its picture."""
    rows = [
        f"{label}: " + ", ".join(f"{column} {number(value, 2, sign=sign)}" for column, value in row.items())
        for label, row in table.iterrows()
    ]
    return f"{what}, a row a loss. " + "; ".join(rows) + "."


def legend_room(runs: pd.DataFrame) -> float:
    """Inches for a legend below the frame, where the losses are too many for one inside."""
    losses = runs["label"].nunique()
    return 0.0 if losses <= INSIDE else 0.3 + 0.15 * losses
