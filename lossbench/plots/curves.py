"""Accuracy and loss over the epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lossbench.plots.style import GREY, INK, SKY, axes, legend, settle, styles_of

if TYPE_CHECKING:
    import pandas as pd


def history(table: pd.DataFrame, ax: Any = None, what: str = "accuracy") -> Any:
    """Draw one run's curves: training images, and validation images or, selected on them, test images.

    Args:
        table: a record's history, a row an epoch.
        what: `accuracy` (percent) or `loss` (the loss function's own value, per image).
    """
    ax = axes(ax)
    scale = 100 if what == "accuracy" else 1
    ax.plot(table["epoch"], scale * table[f"train_{what}"], color=SKY, linestyle="--", label="training images")
    scored, name = ("val", "validation") if f"val_{what}" in table else ("test", "test")
    ax.plot(table["epoch"], scale * table[f"{scored}_{what}"], color=INK, label=f"{name} images")
    ax.legend(frameon=False, fontsize="small")
    _whole_epochs(ax)
    return settle(ax, "", "epoch", "accuracy, %" if what == "accuracy" else "loss")


def learning_curves(table: pd.DataFrame, ax: Any = None, column: str = "val_accuracy", title: str = "") -> Any:
    """Draw `column` over the epochs, a line a loss: mean over its runs, band its 95 % t interval over the runs.

    Args:
        table: rows of `load_history`, of one dataset, model and probability function. Percent is drawn for
            columns that end in `accuracy`. A single run has no band.
    """
    ax = axes(ax)
    scale = 100 if column.endswith("accuracy") else 1
    styles = styles_of(table)
    for label, style in styles.items():
        by_epoch = table[table["label"] == label].groupby("epoch")[column]
        mean, half = scale * by_epoch.mean(), scale * _half_widths(by_epoch)
        ax.fill_between(mean.index, mean - half, mean + half, color=style.colour, alpha=0.13, linewidth=0)
        ax.plot(mean.index, mean, color=style.colour, linestyle=style.line, linewidth=1.5, label=label)
    legend(ax, len(styles), "lower right")
    ax.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
    _whole_epochs(ax)
    return settle(ax, title, "epoch", column.replace("_", " ").replace("val ", "validation ") + _unit(scale))


def _half_widths(groups: Any, coverage: float = 0.95) -> Any:
    """Half of the t interval of each group's mean; nan for a single value."""
    from scipy import stats

    n = groups.count()
    factor = stats.t.ppf((1 + coverage) / 2, (n - 1).where(n > 1))
    return groups.std(ddof=1) * factor / n**0.5


def _unit(scale: int) -> str:
    return ", %" if scale == 100 else ""


def _whole_epochs(ax: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
