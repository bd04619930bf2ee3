"""What one model predicted: confusion matrix and reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lossbench.plots.style import BLUE, GREY, INK, axes, settle

if TYPE_CHECKING:
    import pandas as pd


def confusion_matrix(
    matrix: ArrayLike, class_names: Sequence[str], ax: Any = None, title: str = "", digits: int = 0
) -> Any:
    """Draw a confusion matrix, rows true, columns predicted, each cell in percent of its row.

    Args:
        matrix: (classes, classes), as `metrics.confusion_matrix(..., "true")` gives it; cells that would be
            printed as 0 are left empty, a row without samples says so.
        class_names: one name a class.
    """
    ax = axes(ax)
    shares = np.asarray(matrix, dtype=float)
    classes = len(shares)
    if shares.shape != (len(class_names), len(class_names)):
        raise ValueError(f"matrix {shares.shape} does not fit {len(class_names)} class names")
    # Transparent cells over the page, so that the figure works on light and dark.
    fill = np.zeros((*shares.shape, 4))
    fill[..., :3] = [int(BLUE[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    fill[..., 3] = np.sqrt(np.clip(np.nan_to_num(shares), 0, 1))
    ax.pcolormesh(fill, edgecolors=GREY, linewidth=0.15)
    for row, column in np.argwhere(np.round(100 * np.nan_to_num(shares), digits) > 0):
        colour = "white" if fill[row, column, 3] > 0.6 else INK
        text = f"{100 * shares[row, column]:.{digits}f}"
        place = (column + 0.5, row + 0.5)
        ax.annotate(text, place, ha="center", va="center", fontsize=7.5, color=colour)
    ax.set_xticks(np.arange(classes) + 0.5, class_names, rotation=90)
    ax.set_yticks(np.arange(classes) + 0.5, class_names)
    ax.set_xlim(0, classes)
    ax.set_ylim(classes, 0)
    ax.set_aspect("equal")
    return settle(ax, title, "predicted class", "true class")


def reliability(table: pd.DataFrame, ax: Any = None, title: str = "") -> Any:
    """Draw accuracy against confidence, a bar a bin of `metrics.reliability_table`.

    The dashed diagonal is perfect calibration; the dotted line is each bin's share of the images.
    """
    ax = axes(ax)
    filled = table[table["count"] > 0]
    width = (filled["upper"] - filled["lower"]).to_numpy()
    share = filled["count"] / filled["count"].sum()
    ax.bar(
        filled["lower"],
        filled["accuracy"],
        width,
        align="edge",
        color=BLUE,
        alpha=0.35,
        edgecolor=INK,
        lw=0.6,
    )
    ax.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=0.9, label="calibrated")
    ax.plot(filled["confidence"], filled["accuracy"], "o", color=INK, markersize=3.5, label="measured")
    ax.plot(filled["confidence"], share, color=INK, linestyle=":", linewidth=1.2, label="share of images")
    ax.legend(frameon=False, fontsize="small", loc="upper left")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    return settle(ax, title, "confidence", "accuracy")
