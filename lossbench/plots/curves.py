"""Accuracy and loss over the epochs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lossbench.plots.style import GREY, INK, SKY, axes, name_ends, settle, styles_of, titles_of
from lossbench.stats.paired import LEAST_PAIRS, paired_differences
from lossbench.stats.summary import t_interval

if TYPE_CHECKING:
    import pandas as pd

RIBBONS = 2  # more of them hide each other


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
    ax = axes(ax)
    scale = 100 if column.endswith("accuracy") else 1
    values = table.rename(columns={column: "value"}) if reference is None else _differences(table, column, reference)
    values = values[np.isfinite(values["value"].astype(float))].assign(value=lambda rows: scale * rows["value"])
    styles, titles = styles_of(table), titles_of(table)
    ends = {}
    for place, (label, style) in enumerate(styles.items()):
        rows = values[values["label"] == label]
        if len(rows):
            shift = (12.0 if table["epoch"].nunique() == 1 else 3.0) * (place - (len(styles) - 1) / 2)
            _draw_loss(ax, rows, style, shift, ribbon=len(styles) <= RIBBONS)
            last = rows[rows["epoch"] == rows["epoch"].max()]
            ends[titles[label]] = (float(last["epoch"].iloc[0]), float(last["value"].mean()))
    if reference is not None:
        ax.axhline(0, color=INK, linewidth=0.8)
    ax.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
    ax.autoscale_view()
    _whole_epochs(ax, table["epoch"])
    name_ends(ax, ends, {titles[label]: style for label, style in styles.items()})
    words = column.replace("_", " ").replace("val ", "validation ")
    unit = ", %" if scale == 100 else ""
    if reference is not None:
        words, unit = f"{words} minus {titles_of(table).get(reference, reference)}", ", points" if scale == 100 else ""
    return settle(ax, title, "epoch", words + unit)


def _draw_loss(ax: Any, rows: pd.DataFrame, style: Any, shift: float, *, ribbon: bool) -> None:
    from matplotlib.transforms import ScaledTranslation

    look = {"color": style.colour, "linestyle": style.line, "linewidth": 1.5}
    single = rows["epoch"].nunique() == 1
    side_by_side = ax.transData + ScaledTranslation(shift / 72, 0, ax.figure.dpi_scale_trans)
    if single:
        look |= {"marker": style.marker, "markersize": 4.5, "linestyle": "none", "transform": side_by_side}
    by_epoch = rows.groupby("epoch")["value"]
    if by_epoch.size().max() < LEAST_PAIRS:
        ax.update_datalim(rows[["epoch", "value"]].to_numpy(dtype=float))
        for _, run in rows.groupby("seed"):
            ax.plot(run["epoch"], run["value"], **{**look, "linewidth": 1.0})
        return
    mean = by_epoch.mean()
    low, high = np.array([t_interval(values) for _, values in by_epoch]).T
    ax.plot(mean.index, mean, **look)
    if ribbon and not single:
        ax.fill_between(mean.index, low, high, color=style.colour, alpha=0.13, linewidth=0)
        return
    ax.update_datalim(np.column_stack([np.tile(mean.index, 2), np.concatenate([low, high])]))
    every = max(1, -(-len(mean) // 8))  # bars at each epoch of a long training would be a ribbon again
    at = np.arange(len(mean))[::-1][::every]
    ax.vlines(mean.index[at], low[at], high[at], color=style.colour, linewidth=1.0, alpha=0.8, transform=side_by_side)


def _differences(table: pd.DataFrame, column: str, reference: str) -> pd.DataFrame:
    """Differences to the reference under the same seed, epoch by epoch: `label seed epoch value`."""
    import pandas as pd

    def pairs() -> Iterator[pd.DataFrame]:
        for epoch, rows in table.groupby("epoch"):
            yield paired_differences(rows.assign(status="finished"), column, reference).assign(epoch=epoch)

    return pd.concat([*pairs()], ignore_index=True).rename(columns={"difference": "value"})


def _whole_epochs(ax: Any, epochs: pd.Series) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    if epochs.nunique() == 1:
        ax.set_xticks(epochs.unique())
        ax.set_xlim(epochs.iloc[0] - 0.6, epochs.iloc[0] + 0.6)
