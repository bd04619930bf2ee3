"""The loss over the weights: curves along a line, contours and a surface over a plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lossbench.plots.style import FIGURE_FONT, GREY, INK, LINES, VERMILLION, Style, axes, settle

if TYPE_CHECKING:
    import pandas as pd

PLACES = {
    "alpha": "step $\\alpha$\n(1: as long as the weights)",
    "beta": r"step $\beta$",
    "t": "$t$, from one network (0)\nto the other (1)",
}
QUANTITIES = {"loss": "own training loss", "nll": "NLL, nats", "accuracy": "accuracy, %"}


def weight_curves(
    tables: Mapping[str, pd.DataFrame],
    ax: Any = None,
    what: str = "nll",
    styles: Mapping[str, Style] | None = None,
    title: str = "",
    legend: bool = True,
) -> Any:
    """Draw `what` along a line in the space of weights: mean over the rows of one place, band from lowest to highest.

    Args:
        tables: label -> rows of `landscape.measure_slice` along one direction, those of several directions below each
            other, or of `landscape.measure_path`.
        what: `loss`, `nll` or `accuracy` (percent), or another column.
        styles: label -> style, as of `loss_styles`; None takes the colours of the axes.
        legend: whether to name the lines; beside a panel that does, False.
    """
    ax = axes(ax)
    place = next(iter(tables.values())).columns[0]
    for number, (label, table) in enumerate(tables.items()):
        low, mean, high = (_scale(what) * table.groupby(place)[what].agg(how) for how in ("min", "mean", "max"))
        look = {"linestyle": LINES[number % len(LINES)]}
        if styles is not None:
            look = {"color": styles[label].colour, "linestyle": styles[label].line}
        (line,) = ax.plot(mean.index, mean, linewidth=1.6, label=label, **look)
        ax.fill_between(mean.index, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    ax.locator_params(axis="x", nbins=5)
    ax.grid(color=GREY, alpha=0.25, linewidth=0.6)
    if legend:
        ax.legend(frameon=False, fontsize="small", handlelength=3.2)
    return settle(ax, title, PLACES.get(place, place), QUANTITIES.get(what, what))


def weight_contours(
    table: pd.DataFrame, levels: Sequence[float], ax: Any = None, what: str = "nll", title: str = ""
) -> Any:
    """Draw `what` over a plane in the space of weights as labelled contour lines; a cross marks the network itself.

    Args:
        table: rows of `landscape.measure_slice` along two directions.
        levels: ascending values to draw a line at, the same in figures that are to be compared. A step of colour is
            one level, however far apart they are.
    """
    from matplotlib.colors import BoundaryNorm

    ax = axes(ax)
    alpha, beta, height = _grid(table, what)
    ax.contourf(
        alpha, beta, height, levels, cmap="cividis", norm=BoundaryNorm(levels, 256, extend="both"), extend="both"
    )
    inks = ["white" if number < len(levels) / 2 else INK for number in range(len(levels))]
    lines = ax.contour(alpha, beta, height, levels, colors=inks, linewidths=0.6)
    ax.clabel(lines, fontsize=FIGURE_FONT - 1.5, fmt="%.3g")
    ax.plot(0, 0, "+", color=VERMILLION, markersize=9, markeredgewidth=2)
    ax.set_aspect("equal")
    ax.locator_params(nbins=5)
    return settle(ax, title, PLACES["alpha"], PLACES["beta"])


def weight_surface(
    table: pd.DataFrame, ax: Any = None, what: str = "nll", top: float | None = None, title: str = ""
) -> Any:
    """Draw `what` over a plane in the space of weights as a surface.

    Args:
        table: rows of `landscape.measure_slice` along two directions.
        ax: axes with `projection="3d"`; None makes some.
        top: where the vertical axis and the colours end, the same in figures that are to be compared; they start at 0.
    """
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.figure(figsize=(5.4, 4.4)).add_subplot(projection="3d")
    alpha, beta, height = _grid(table, what)
    top = height.max() if top is None else top
    ax.plot_surface(alpha, beta, height, cmap="cividis", vmin=0, vmax=top, rcount=len(alpha), ccount=len(alpha))
    ax.set_title(title, fontsize=FIGURE_FONT + 0.5, color=INK, fontweight="bold")
    ax.tick_params(labelsize=FIGURE_FONT - 1)
    ax.locator_params(nbins=5)
    ax.set(xlabel=r"$\alpha$", ylabel=r"$\beta$", zlabel=QUANTITIES.get(what, what), zlim=(0, top))
    ax.view_init(30, 230)
    return ax


def _grid(table: pd.DataFrame, what: str) -> tuple[Any, Any, Any]:
    """Three matrices (places along beta, places along alpha): both steps and the height."""
    import numpy as np

    heights = _scale(what) * table.pivot(index="beta", columns="alpha", values=what)
    return (*np.meshgrid(heights.columns, heights.index), heights.to_numpy())


def _scale(what: str) -> int:
    return 100 if what == "accuracy" else 1
