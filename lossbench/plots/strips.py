"""Numbers as they are: a row a group, a dot a number."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lossbench.plots.style import BLUE, GREY, INK, VERMILLION, axes, fold, settle


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
    for place, (name, numbers) in enumerate(values.items()):
        found = np.asarray(numbers, dtype=float)
        # Equal numbers would hide each other, so they are spread a little, in a fixed order.
        at = place + np.resize([0.0, -0.16, 0.16, -0.08, 0.08], len(found))
        look = {"marker": "o", "color": BLUE, "alpha": 0.7, "markersize": 4.0}
        if name in published:
            look = {"marker": "D", "color": VERMILLION, "markerfacecolor": "none", "markersize": 5.0}
        ax.plot(found, at, linestyle="none", **look)
        said = f"n={len(found)}"
        ax.annotate(said, (1.01, place), xycoords=ax.get_yaxis_transform(), fontsize=7, color=INK, va="center")
    ax.axvline(0, color=INK, linewidth=0.8)
    ax.set_yticks(range(len(values)), [fold(name, 30) for name in values])
    ax.set_ylim(len(values) - 0.5, -0.5)
    ax.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.6)
    return settle(ax, title, unit)
