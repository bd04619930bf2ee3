"""Scores of runs: a row or a line a loss, its mean over seeds and the interval of that mean."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation
from numpy.typing import ArrayLike

from lossbench.plots.style import (
    BLUE,
    FIGURE_FONT,
    GREEN,
    GREY,
    INK,
    MARKERS,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Style,
    axes,
    fold,
    legend,
    marker_of,
    name_ends,
    settle,
    styles_of,
    title_of,
    titles_of,
)
from lossbench.stats.inference import rank_losses
from lossbench.stats.paired import LEAST_PAIRS, OUTCOMES, UNDECIDED, VERDICTS, Outcome, compare, paired_differences
from lossbench.stats.runs import Setting, finished, summarise, t_interval


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
    for index, row in enumerate(rows.to_dict("records")):
        values = done[done["label"] == row["label"]][metric].to_numpy(dtype=float)
        _draw_row(ax, index, values, row, scale, styles[row["label"]], runs, least)
        if row["diverged"]:
            ax.plot(0.015, index, "x", color=INK, markersize=6, transform=ax.get_yaxis_transform(), clip_on=False)
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


def draw_margin(ax: Any, margin: float) -> str:
    """A line at 0 and the band of what is too small to matter, if a margin was stated; what the axis says of it."""
    ax.axvline(0, color=INK, linewidth=0.8)
    if not np.isfinite(margin):
        return ""
    ax.axvspan(-margin, margin, color=GREY, alpha=0.2, linewidth=0)
    return "\n(band: too small to matter)"


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
    band = draw_margin(ax, scale * float(rows["margin"].max()) if len(rows) else np.nan)
    names = []
    for index, row in enumerate(rows.to_dict("records")):
        own = pairs[(pairs["label"] == row["label"]) & (pairs["probability"] == row["probability"])]
        _draw_row(ax, index, own["difference"].to_numpy(dtype=float), row, scale, styles[row["label"]], runs)
        names.append(title_of(row["loss"], row["label"]) + (f", {row['probability']}" if several else ""))
    name_rows(ax, names, [_verdict(row) for row in rows.to_dict("records")])
    return settle(ax, title, difference_label(metric) + band)


def _verdict(row: dict[Any, Any]) -> str:
    text = f"{row['verdict']}\nn={row['n']}"
    text += f", {row['diverged']} div." if row["diverged"] else ""
    return text + (f", needs {int(row['needed']):,}" if row["verdict"] == UNDECIDED and row["needed"] > 0 else "")


def _draw_row(
    ax: Any,
    index: float,
    values: np.ndarray,
    row: Mapping[Any, Any],
    scale: float,
    style: Style,
    runs: pd.DataFrame,
    least: float = -np.inf,
) -> None:
    """The runs as dots, their mean as an upright line, its interval as a bar."""
    low, high, mean = (scale * row[name] for name in ("low", "high", "mean"))
    if len(values) >= LEAST_PAIRS and np.isfinite(low):
        ax.plot([max(low, least), high], [index] * 2, color=GREY, linewidth=3.5, alpha=0.55, solid_capstyle="butt")
    if np.isfinite(mean):
        ax.plot([mean, mean], [index - 0.3, index + 0.3], color=INK, linewidth=1.6)
    # Equal values would hide each other, so the dots are spread a little, in a fixed order.
    at = index + (np.linspace(-0.13, 0.13, len(values)) if len(values) > 1 else np.zeros(len(values)))
    look = {"color": style.colour, "markersize": 4.5, "markeredgecolor": INK, "markeredgewidth": 0.5}
    ax.plot(scale * values, at, marker_of(str(runs["probability"].iloc[0])), **look)


def name_rows(ax: Any, labels: Sequence[str], counts: Sequence[str] = (), at: ArrayLike | None = None) -> None:
    """Name the rows at the left, from the top, and set texts at the right, a row each or at the heights `at`."""
    ax.set_yticks(range(len(labels)), [fold(label) for label in labels])
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.6)
    for y, text in zip(range(len(counts)) if at is None else np.asarray(at), counts, strict=True):
        ax.annotate(text, (1.01, y), xycoords=ax.get_yaxis_transform(), fontsize=7, color=INK, va="center")


def published_and_measured(table: pd.DataFrame, ax: Any = None, title: str = "") -> Any:
    """Draw each loss minus cross-entropy as a paper prints it (open diamond) and as it was measured (dot, interval).

    Args:
        table: a row a configuration with `name`, `published`, `mean`, `low` and `high`, differences as fractions.
    """
    ax = axes(ax)
    rows = np.arange(len(table))
    published, mean, low, high = (100 * table[name].astype(float) for name in ("published", "mean", "low", "high"))
    ax.hlines(rows, low, high, color=BLUE, linewidth=3.5, alpha=0.35)
    ax.plot(mean, rows, "o", color=BLUE, markersize=5)
    ax.plot(published, rows, "D", color=VERMILLION, markersize=6, markerfacecolor="none", markeredgewidth=1.4)
    ax.axvline(0, color=INK, linewidth=0.8)
    name_rows(ax, list(table["name"]), [f"n={n}" for n in table["n"]])
    return settle(ax, title, "minus cross-entropy, percentage points")


DIFFERENT = tuple(word for word in VERDICTS if word.endswith(("better", "worse")))
WORD_COLOURS = dict(zip(VERDICTS, ("#0072b2", "#7fb3d5", "#b9b9b9", "#ececea", "#f2a97a", "#d55e00"), strict=True))


def differences_by_setting(
    settings: Sequence[Setting],
    ax: Any = None,
    metric: str = "test_accuracy",
    title: str = "",
    names: Sequence[str] | None = None,
    *,
    tuned: Sequence[str] = (),
) -> Any:
    """Draw a row a setting and a mark a loss: its mean difference to cross-entropy and the 95 % t interval.

    A filled mark differs from cross-entropy, an open one does not or is undecided (`stats.compare`, corrected for the
    losses of its setting). The band holds what is too small to matter; n at the right counts the pairs of a mark.

    Args:
        settings: of one probability function, such as `stats.settings_with` gives them.
        names: of the rows; the settings' own by default.
        tuned: fields that each loss may have its own value of, such as `("lr",)`.

    Raises: ValueError when there is no setting, or not one name a setting.
    """
    names = [setting.name for setting in settings] if names is None else names
    if not settings or len(names) != len(settings):
        raise ValueError(f"{len(names)} names do not fit {len(settings)} settings; give one each, of one or more")
    ax = axes(ax)
    tables = [compare(setting.runs, metric, tuned=tuned) for setting in settings]
    whole = pd.concat([table.assign(row=row) for row, table in enumerate(tables)])
    styles, titles, scale = styles_of(whole), titles_of(whole), outcome_of(metric).scale
    band = draw_margin(ax, scale * float(whole["margin"].max()))
    for index, (label, style) in enumerate(styles.items()):
        rows = whole[whole["label"] == label]
        draw_marks(ax, rows, rows["row"] + 0.7 * ((index + 0.5) / len(styles) - 0.5), style, titles[label], scale)
    name_rows(ax, names, [_pairs(table) for table in tables])
    legend(ax, len(styles), "below")
    return settle(ax, title, difference_label(metric) + band)


def draw_marks(ax: Any, rows: pd.DataFrame, at: Any, style: Any, name: str, scale: float) -> None:
    """A mark and its interval a row, filled where its `verdict` says that there is a difference."""
    mean, low, high = (scale * rows[column].to_numpy(dtype=float) for column in ("mean", "low", "high"))
    at, known = np.asarray(at), rows["n"].to_numpy() >= LEAST_PAIRS
    differs = rows["verdict"].isin(DIFFERENT).to_numpy() if "verdict" in rows else np.ones(len(rows), dtype=bool)
    ax.hlines(at[known], low[known], high[known], color=style.colour, linewidth=1.4)
    look = {"color": style.colour, "markersize": 4.4, "linestyle": "none", "marker": style.marker}
    ax.plot(mean, at, **look, markerfacecolor="white", label="_")
    ax.plot(np.where(differs, mean, np.nan), at, **look, label="_")
    ax.plot([], [], **look, label=name)


def _pairs(table: pd.DataFrame) -> str:
    counts = sorted(set(table["n"]))
    text = "n=" + "–".join(f"{n}" for n in dict.fromkeys((counts[0], counts[-1])))
    return text + (f", {lost} div." if (lost := int(table["diverged"].max())) else "")


def verdicts(table: pd.DataFrame, ax: Any = None, title: str = "") -> Any:
    """Draw how often each word of `stats.compare` was said of each loss: a bar a loss, a piece a word.

    Args:
        table: rows of `stats.compare`, of any number of settings; what is the same function is left out.
    """
    ax = axes(ax)
    judged = table[table["verdict"].isin(VERDICTS)]
    counts = judged.groupby(["loss", "verdict"]).size().unstack(fill_value=0).reindex(columns=VERDICTS, fill_value=0)
    weights = np.arange(len(VERDICTS), 0, -1)
    counts = counts.iloc[np.argsort(-(counts.to_numpy() @ weights) / counts.sum(axis=1).to_numpy(), kind="stable")]
    left = np.zeros(len(counts))
    for word in VERDICTS:
        width = counts[word].to_numpy()
        look = {"color": WORD_COLOURS[word], "edgecolor": GREY, "linewidth": 0.4, "label": word}
        if width.any():
            pieces = ax.barh(range(len(counts)), width, left=left, **look)
            ink = "white" if word in ("better", "worse") else "#141414"
            ax.bar_label(pieces, [n or "" for n in width], label_type="center", fontsize=FIGURE_FONT - 1.5, color=ink)
        left = left + width
    titles = titles_of(judged.assign(label=judged["loss"]))
    name_rows(ax, [titles[loss] for loss in counts.index], [])
    ax.grid(visible=False)
    place = {"loc": "lower left", "bbox_to_anchor": (-0.3, 1), "ncols": 3}
    ax.legend(**place, frameon=False, fontsize=FIGURE_FONT - 1, handlelength=1, columnspacing=1)
    return settle(ax, title, "comparisons with cross-entropy")


COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION)


def contrasts(table: pd.DataFrame, ax: Any = None, title: str = "") -> Any:
    """Draw a group of rows a comparison, a mark a data set: the mean over seeds and its 95 % t interval.

    Colour and marker tell the data set. Where the table has them, the band of ±`margin` is what is too small to matter,
    and an open mark is one whose `verdict` names no difference.

    Args:
        table: columns `against dataset n estimate low high unit`, such as `claims.detail` gives for one claim.

    Raises: ValueError when the table has no row.
    """
    if not len(table):
        raise ValueError("there is no comparison to draw; the claim is not decided by runs, or there are none for it")
    ax = axes(ax)
    groups, datasets = (list(dict.fromkeys(table[name])) for name in ("against", "dataset"))
    band = draw_margin(ax, float(table["margin"].max()) if "margin" in table else np.nan)
    within = 0.7 * ((table["dataset"].map(datasets.index) + 0.5) / len(datasets) - 0.5)
    at = table["against"].map(groups.index) + within
    for i, dataset in enumerate(datasets):
        chosen = table["dataset"] == dataset
        style = Style(COLOURS[i % len(COLOURS)], "-", MARKERS[i % len(MARKERS)])
        draw_marks(ax, table[chosen].rename(columns={"estimate": "mean"}), at[chosen], style, dataset, 1.0)
    name_rows(ax, [group.replace("gamma=", "γ=") for group in groups], [f"n={n}" for n in table["n"]], at)
    legend(ax, len(datasets), "below")
    return settle(ax, title, f"difference, {table['unit'].iloc[0]}{band}")


def strips(
    values: Mapping[str, ArrayLike], ax: Any = None, title: str = "", unit: str = "", published: Collection[str] = ()
) -> Any:
    """Draw every number of every row, with a line at 0 and the count at the right.

    Args:
        values: name of the row -> its numbers.
        unit: label of the axis.
        published: names of the rows that come from a paper, drawn as open diamonds.
    """
    ax = axes(ax)
    for index, (name, numbers) in enumerate(values.items()):
        # Equal numbers would hide each other, so they are spread a little, in a fixed order.
        at = index + np.resize([0.0, -0.16, 0.16, -0.08, 0.08], np.size(numbers))
        look = {"marker": "o", "color": BLUE, "alpha": 0.7, "markersize": 4.0}
        if name in published:
            look = {"marker": "D", "color": VERMILLION, "markerfacecolor": "none", "markersize": 5.0}
        ax.plot(np.asarray(numbers, dtype=float), at, linestyle="none", **look)
    ax.axvline(0, color=INK, linewidth=0.8)
    name_rows(ax, list(values), [f"n={np.size(numbers)}" for numbers in values.values()])
    return settle(ax, title, unit)


RIBBONS = 2  # more of them hide each other
MOST_BARS = 8  # of one line, and lines that have more than one


def history(table: pd.DataFrame, ax: Any = None, what: str = "accuracy") -> Any:
    """Draw one run's curves: training images, and validation images or, selected on them, test images.

    Args:
        table: a record's history, a row an epoch.
        what: `accuracy` (percent) or `loss` (the loss function's own value, per image).
    """
    ax = axes(ax)
    scale = 100 if what == "accuracy" else 1
    look = {"marker": "o" if len(table) == 1 else None}
    ax.plot(table["epoch"], scale * table[f"train_{what}"], **look, color=SKY, linestyle="--", label="training images")
    scored, name = ("val", "validation") if f"val_{what}" in table else ("test", "test")
    ax.plot(table["epoch"], scale * table[f"{scored}_{what}"], **look, color=INK, label=f"{name} images")
    ax.legend(frameon=False, fontsize="small")
    _whole_epochs(ax, table["epoch"])
    return settle(ax, "", "epoch", "accuracy, %" if what == "accuracy" else "loss")


def learning_curves(
    table: pd.DataFrame,
    ax: Any = None,
    column: str = "val_accuracy",
    title: str = "",
    reference: str | None = None,
) -> Any:
    """Draw `column` over the epochs, a line a loss: the mean over its runs, with its 95 % t interval over the runs.

    The interval is a ribbon for one or two losses, and bars side by side for more. With fewer than three runs there is
    no interval, and each run is a line; after one epoch there are points.

    Args:
        table: rows of `load_history`, of one dataset, model and probability function. Percent is drawn for
            columns that end in `accuracy`.
        reference: a loss; then each loss minus it, paired by seed, in percentage points, is drawn instead.
    """
    if ax is None:
        ax = axes()
        ax.figure.set_figheight(max(3.6, 1.2 + 0.19 * table["label"].nunique()))  # each name needs a line
    scale = 100 if column.endswith("accuracy") else 1
    values = table.rename(columns={column: "value"}) if reference is None else _differences(table, column, reference)
    values = values[np.isfinite(values["value"].astype(float))].assign(value=lambda rows: scale * rows["value"])
    styles, titles = styles_of(table), titles_of(table)
    ends = {}
    step = 12.0 if table["epoch"].nunique() == 1 else min(3.0, 24 / len(styles))
    for index, (label, style) in enumerate(styles.items()):
        rows = values[values["label"] == label]
        if len(rows):
            _draw_loss(ax, rows, style, step * (index - (len(styles) - 1) / 2), len(styles))
            last = rows[rows["epoch"] == rows["epoch"].max()]
            ends[titles[label]] = (float(last["epoch"].iloc[0]), float(last["value"].mean()))
    if reference is not None:
        ax.axhline(0, color=INK, linewidth=0.8)
    ax.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
    ax.autoscale_view()
    _whole_epochs(ax, table["epoch"])
    name_ends(ax, ends, {titles[label]: style for label, style in styles.items()})
    words = column.replace("_", " ").replace("val ", "validation ")
    if reference is None:
        return settle(ax, title, "epoch", words + (", %" if scale == 100 else ""))
    words += f" minus {titles.get(reference, reference)}"
    return settle(ax, title, "epoch", words + (", points" if scale == 100 else ""))


def _draw_loss(ax: Any, rows: pd.DataFrame, style: Style, shift: float, lines: int) -> None:
    look = {"color": style.colour, "linestyle": style.line, "linewidth": 1.5}
    by_epoch = rows.groupby("epoch")["value"]
    if single := len(by_epoch) == 1:
        look |= {"marker": style.marker, "markersize": 4.5, "linestyle": "none", "transform": _moved(ax, shift)}
    if by_epoch.size().max() < LEAST_PAIRS:
        ax.update_datalim(rows[["epoch", "value"]].to_numpy(dtype=float))
        for _, run in rows.groupby("seed"):
            ax.plot(run["epoch"], run["value"], **{**look, "linewidth": 1.0})
        return
    mean = by_epoch.mean()
    low, high = np.array([t_interval(values) for _, values in by_epoch]).T
    # Bars at each epoch of a long training would be a ribbon again, and those of many losses a thicket.
    every = max(1, -(-len(mean) // MOST_BARS)) if lines <= MOST_BARS else len(mean)
    at = np.arange(len(mean))[::-1][::every]
    ax.plot(mean.index, mean, **{"marker": style.marker, "markersize": 3, "markevery": at.tolist()} | look)
    if lines <= RIBBONS and not single:
        ax.fill_between(mean.index, low, high, color=style.colour, alpha=0.13, linewidth=0)
    else:
        _draw_bars(ax, mean.index[at], low[at], high[at], style, shift)


def _moved(ax: Any, points: float) -> Any:
    """Data coordinates moved sideways: intervals of several losses at one place would hide each other."""
    return ax.transData + ScaledTranslation(points / 72, 0, ax.figure.dpi_scale_trans)


def _draw_bars(ax: Any, at: ArrayLike, low: np.ndarray, high: np.ndarray, style: Style, shift: float) -> None:
    ax.update_datalim(np.column_stack([np.tile(at, 2), np.concatenate([low, high])]))
    ax.vlines(at, low, high, color=style.colour, linewidth=1.0, alpha=0.8, transform=_moved(ax, shift))


def _differences(table: pd.DataFrame, column: str, reference: str) -> pd.DataFrame:
    """Differences to the reference under the same seed, epoch by epoch: `epoch label seed value`."""
    pairs = {
        epoch: paired_differences(rows.assign(status="finished"), column, reference)
        for epoch, rows in table.groupby("epoch")
    }
    return pd.concat(pairs, names=["epoch"]).reset_index("epoch").rename(columns={"difference": "value"})


def _whole_epochs(ax: Any, epochs: pd.Series) -> None:
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    if epochs.nunique() == 1:
        ax.set_xticks(epochs.unique())
        ax.set_xlim(epochs.iloc[0] - 0.6, epochs.iloc[0] + 0.6)


NAMES = {
    "label_noise": "training targets replaced, %",
    "imbalance": "images of the largest class : smallest",
    "train_size": "training images",
}
LOGARITHMIC = 20  # ratio of the largest level to the smallest from which on the axis is logarithmic


def robustness(
    runs: pd.DataFrame,
    field: str,
    ax: Any = None,
    metric: str = "test_accuracy",
    reference: str | None = None,
    title: str = "",
) -> Any:
    """Draw `metric` against the numbers in `field`, a line a loss: mean over seeds and its 95 % t interval.

    Args:
        runs: one probability function; settings that differ in nothing but `field`.
        reference: a loss; then each loss minus it, paired by seed, is drawn instead, over a band of what is too small
            to matter; a filled mark differs from the reference.
    """
    ax = axes(ax)
    cells = robustness_table(runs, field, metric, reference)
    styles, titles, outcome = styles_of(runs), titles_of(runs), outcome_of(metric)
    # A score itself is shown in percent where its differences are shown in points.
    cells[["mean", "low", "high"]] *= (scale := outcome.scale)
    cells[field] *= 100 if field == "label_noise" else 1
    ends = {}
    for index, (label, style) in enumerate(styles.items()):
        rows = cells[cells["label"] == label]
        if len(rows):
            _draw_levels(ax, rows, field, style, 3.0 * (index - (len(styles) - 1) / 2))
            ends[titles[label]] = (float(rows[field].iloc[-1]), float(rows["mean"].iloc[-1]))
    _number_axis(ax, np.unique(cells[field].to_numpy(dtype=float)))
    ax.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
    if reference is not None:
        ax.axhline(0, color=INK, linewidth=0.8)
        if outcome.margin:
            ax.axhspan(-scale * outcome.margin, scale * outcome.margin, color=GREY, alpha=0.2, linewidth=0)
    ax.autoscale_view()
    name_ends(ax, ends, {titles[label]: style for label, style in styles.items()})
    unit = f"{outcome.title}, %" if scale == 100 else outcome.title
    label = unit if reference is None else fold(difference_label(metric, reference), 25)
    return settle(ax, title, NAMES.get(field, field.replace("_", " ")), label)


def _draw_levels(ax: Any, rows: pd.DataFrame, field: str, style: Style, shift: float) -> None:
    at, mean, low, high = (rows[name].to_numpy(dtype=float) for name in (field, "mean", "low", "high"))
    has_interval = rows["n"].to_numpy() >= LEAST_PAIRS
    _draw_bars(ax, at[has_interval], low[has_interval], high[has_interval], style, shift)
    ax.update_datalim(np.column_stack([at, mean]))
    look = {"color": style.colour, "marker": style.marker, "transform": _moved(ax, shift)}
    ax.plot(at, mean, lw=1.3, ms=4, linestyle=style.line, **look)
    if "verdict" in rows:
        same = ~rows["verdict"].isin(DIFFERENT).to_numpy()
        ax.plot(at[same], mean[same], ms=3.4, mfc="white", linestyle="none", **look)


def _number_axis(ax: Any, levels: np.ndarray) -> None:
    """A tick at each level, at its number."""
    if len(levels) > 1 and levels[0] > 0 and levels[-1] / levels[0] >= LOGARITHMIC:
        ax.set_xscale("log")
    ax.set_xticks(levels, [f"{level:g}" for level in levels])
    ax.set_xticks([], minor=True)
    if len(levels) > 1:
        pixels = ax.transData.transform([(x, 0) for x in levels])[:, 0]
        if np.diff(pixels).min() < 0.09 * np.ptp(pixels):  # numbers would touch
            ax.tick_params(axis="x", labelrotation=90)


def robustness_table(
    runs: pd.DataFrame, field: str, metric: str = "test_accuracy", reference: str | None = None
) -> pd.DataFrame:
    """What `robustness` draws: columns `loss`, `label`, `field`'s name, `n`, `mean`, `low`, `high`, as fractions.

    With a `reference` the rows are those of `stats.compare` at each level, with its `verdict`.
    """
    columns = ["loss", "label", field, "n", "mean", "low", "high", *(["verdict"] if reference is not None else [])]
    parts = []
    for level, rows in runs.groupby(runs[field].astype(float)):
        table = summarise(rows, metric) if reference is None else compare(rows, metric, reference)
        parts.append(table[table["n"] > 0].assign(**{field: level})[columns])
    order = list(styles_of(runs))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return table.sort_values(
        [field, "label"], key=lambda c: c.map(order.index) if c.name == "label" else c, ignore_index=True
    )


def critical_difference(runs: pd.DataFrame, ax: Any = None, metric: str = "test_accuracy") -> Any:
    """Draw mean ranks of the losses, 1 is best; a bar joins losses that Nemenyi's test cannot tell apart.

    The title gives Friedman's p and the number of blocks. Raises ValueError where `stats.rank_losses` does.
    """
    import scikit_posthocs

    ax = axes(ax)
    ranks = rank_losses(runs, metric)
    titles = titles_of(runs)
    short = {label: fold(titles[label], 30) for label in ranks.ranks.index}
    scikit_posthocs.critical_difference_diagram(
        ranks.ranks.rename(short),
        ranks.pairwise.rename(index=short, columns=short),
        ax=ax,
        label_props={"fontsize": 8.5},
        crossbar_props={"color": INK, "linewidth": 2.5},
        marker_props={"s": 14},
        elbow_props={"linewidth": 0.7},
        color_palette=dict.fromkeys(short.values(), INK),
    )
    ax.tick_params(color=GREY, labelcolor=INK, labelsize=8)
    for spine in ax.spines.values():
        spine.set_color(GREY)
    ax.set_title(
        f"mean rank over {ranks.blocks} blocks; Friedman p = {ranks.p:.2g}; "
        f"critical difference {ranks.critical_difference:.2f}",
        fontsize=8.5,
        color=INK,
        pad=18,
    )
    return ax
