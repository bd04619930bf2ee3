"""Accuracy and loss over the epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lossbench.plots.style import INK, SKY, axes, settle, styles_of

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
    """Draw `column` over the epochs, a line a loss: mean over its runs, band from the lowest to the highest.

    Args:
        table: rows of `load_history`, of one dataset, model and probability function. Percent is drawn for
            columns that end in `accuracy`.
    """
    ax = axes(ax)
    scale = 100 if column.endswith("accuracy") else 1
    for label, style in styles_of(table).items():
        by_epoch = table[table["label"] == label].groupby("epoch")[column]
        low, mean, high = (scale * by_epoch.agg(how) for how in ("min", "mean", "max"))
        colour, line = style.colour, style.line
        ax.fill_between(mean.index, low, high, color=colour, alpha=0.13, linewidth=0)
        ax.plot(mean.index, mean, color=colour, linestyle=line, linewidth=1.5, label=label)
    ax.legend(frameon=False, fontsize="small", loc="lower right", handlelength=3.2)
    ax.grid(axis="y", color="#8a8d91", alpha=0.25, linewidth=0.6)
    _whole_epochs(ax)
    return settle(ax, title, "epoch", column.replace("_", " ").replace("val ", "validation ") + _unit(scale))


def _unit(scale: int) -> str:
    return ", %" if scale == 100 else ""


def _whole_epochs(ax: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
