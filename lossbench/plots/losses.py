"""The shape of a loss: curves over one probability or logit, and the triangle of three probabilities."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.colors import BoundaryNorm
from matplotlib.patches import FancyBboxPatch, Rectangle

from lossbench.losses import LOSSES, Criterion
from lossbench.losses.catalogue import ORIGINS
from lossbench.losses.curves import curves, side
from lossbench.losses.relations import ABSOLUTE_ERROR, EDGES, describe, describe_terms
from lossbench.plots.style import (
    BLUE,
    FIGURE_FONT,
    GREEN,
    GREY,
    INK,
    LINES,
    PURPLE,
    VERMILLION,
    Style,
    axes,
    loss_styles,
    settle,
    title_of,
)
from lossbench.registry import unknown

NAMES = {
    "loss": "L, nats",
    "slope_p": r"$\partial L / \partial p_t$",
    "slope_z": r"$\partial L / \partial z_t$",
    "curvature_p": r"$\partial^2 L / \partial p_t^2$",
    "curvature_z": r"$\partial^2 L / \partial z_t^2$",
    "p": "probability of the target, $p_t$",
    "z": "logit of the target, $z_t$ (others 0)",
}
LEVELS = 14
LOWEST = 0.004  # probability at the triangle's edge, where logits would be infinite
CORNERS = ("target", "B", "C")
FAINT = 0.05  # a gradient below this share of cross-entropy's counts as given up


def loss_curves(
    losses: Sequence[tuple[str, Mapping[str, Any]]],
    ax: Any = None,
    what: str = "loss",
    axis: str = "p",
    num_classes: int = 10,
    title: str = "",
) -> Any:
    """Draw losses, or their slopes, against the target's probability or logit; the other classes share the rest.

    Args:
        losses: (name, parameters) of losses on logits, in the form of `study.compare_losses`.
        what: `loss`, `slope_p`, `slope_z`, `curvature_p` or `curvature_z`.
        axis: `p` or `z`.
        num_classes: the value of some losses depends on it.

    Raises:
        ValueError: a name that is not known, or a loss on embeddings.
    """
    ax = axes(ax)
    sides = [side(name, **params) for name, params in losses]
    styles = loss_styles((entry.loss, entry.label) for entry in sides)
    for entry in sides:
        curve = curves(entry, axis=axis, num_classes=num_classes)  # type: ignore[arg-type]  # checked there
        look = {"color": styles[entry.label].colour, "linestyle": styles[entry.label].line, "linewidth": 1.6}
        at = curve.p if axis == "p" else curve.z
        ax.plot(at, curve.quantity(what), label=title_of(entry.loss, entry.label), **look)
    ax.grid(color=GREY, alpha=0.25, linewidth=0.6)
    ax.legend(frameon=False, fontsize="small", handlelength=4.5)  # the longest dash pattern twice
    return settle(ax, title, NAMES[axis], NAMES[what])


def loss_simplex(name: str, params: Mapping[str, Any] | None = None, ax: Any = None, title: str | None = None) -> Any:
    """Draw a loss over all probabilities of three classes: the target is the upper corner.

    Colours go from the lowest value (dark) to high ones (bright) and are cut off above the value at the middle of
    the lower edge; three lines carry their value, a star marks the lowest. An arrow points where a small gradient step
    on the logits moves the probabilities and is as long as the square root of that gradient, cross-entropy's at the
    same place being 1; a dot stands where it is below a twentieth. A tree has the leaves `target`, `B` and `C`.

    Raises:
        ValueError: a name that is not known, or a loss on embeddings.
    """
    ax = axes(ax)
    params = dict(params or {})
    corners = np.array([[0.5, 3**0.5 / 2], [0.0, 0.0], [1.0, 0.0]])
    grid = _triangle(60)
    value, _ = _evaluate(name, params, grid)
    middle, _ = _evaluate(name, params, np.array([[LOWEST, (1 - LOWEST) / 2, (1 - LOWEST) / 2]]))
    top = max(middle[0], value.min() + 1e-9)
    x, y = (grid @ corners).T
    ax.tricontourf(x, y, value, levels=np.linspace(value.min(), top, LEVELS + 1), cmap="cividis", extend="max")
    lines = ax.tricontour(x, y, value, levels=np.linspace(value.min(), top, 5)[1:-1], colors="white", linewidths=0.5)
    ax.clabel(lines, fontsize=FIGURE_FONT - 2, fmt="%.2g")
    lowest = int(value.argmin())
    ax.plot(x[lowest], y[lowest], "*", color="white", markeredgecolor=INK, markeredgewidth=0.6, markersize=10, zorder=4)
    _draw_steps(ax, name, params, corners)
    for corner, text, place in zip(corners, CORNERS, ("bottom", "top", "top"), strict=True):
        ax.text(*corner, text, fontsize=FIGURE_FONT, color=INK, ha="center", va=place)
    ax.set_aspect("equal")
    ax.set_axis_off()
    if title is None:
        title = title_of(name, LOSSES[name].label({key: value for key, value in params.items() if key != "tree"}))
    ax.set_title(title, fontsize=FIGURE_FONT + 0.5, color=INK, fontweight="bold", pad=12)
    return ax


def _draw_steps(ax: Any, name: str, params: Mapping[str, Any], corners: np.ndarray) -> None:
    points = _triangle(11)
    points = points[(points > 0.03).all(1)]
    _, slope = _evaluate(name, params, points)
    reference = points - np.array([1.0, 0.0, 0.0])
    strength = np.linalg.norm(slope, axis=1) / np.linalg.norm(reference, axis=1)
    faint = strength < FAINT
    moved = -points * (slope - (points * slope).sum(1, keepdims=True))  # softmax turns a step -slope into this
    arrows = moved @ corners
    arrows *= (np.sqrt(np.clip(strength, 0, 2.5)) / (np.linalg.norm(arrows, axis=1) + 1e-30))[:, None]
    x, y = (points @ corners).T
    ax.plot(x[faint], y[faint], ".", color="white", markersize=2.5)
    keep = ~faint
    ax.quiver(x[keep], y[keep], *arrows[keep].T, color="white", scale=17, width=0.008, headwidth=4, pivot="mid")


def _triangle(steps: int) -> np.ndarray:
    """Evenly spaced probabilities of three classes (points, 3), kept off the edges."""
    counts = [(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]
    return LOWEST + (1 - 3 * LOWEST) * np.array(counts) / steps


def _evaluate(name: str, params: Mapping[str, Any], probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Value (points,) and gradient on the logits (points, 3) under softmax, the target being class 0."""
    if (entry := LOSSES[name]).takes != "logits":
        raise ValueError(unknown("loss on logits", name, _on_logits()) + f"; {entry.name} compares embeddings")
    criterion = Criterion(name, reduction="none", num_classes=3, class_counts=[1, 1, 1], class_names=CORNERS, **params)
    logits = torch.tensor(probs).log().requires_grad_()
    loss: torch.Tensor = criterion(logits, torch.zeros(len(probs), dtype=torch.int64))
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    return loss.detach().numpy(), slope.numpy()


def _on_logits() -> list[str]:
    return [name for name, entry in LOSSES.items() if entry.takes == "logits"]


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
        ax = plt.figure(figsize=(5.4, 4.4)).add_subplot(projection="3d")
    alpha, beta, height = _grid(table, what)
    top = height.max() if top is None else top
    ax.plot_surface(alpha, beta, height, cmap="cividis", vmin=0, vmax=top, rcount=len(alpha), ccount=len(alpha))
    ax.set_title(title, fontsize=FIGURE_FONT + 0.5, color=INK, fontweight="bold")
    ax.tick_params(labelsize=FIGURE_FONT - 1, pad=-1)
    ax.locator_params(nbins=4)
    ax.set_zlabel(QUANTITIES.get(what, what), rotation=90, labelpad=-4)
    ax.zaxis.set_rotate_label(False)
    ax.set_xlabel(r"step $\alpha$", labelpad=-5)
    ax.set_ylabel(r"step $\beta$", labelpad=-5)
    ax.set_zlim(0, top)
    ax.view_init(30, 230)
    return ax


def _grid(table: pd.DataFrame, what: str) -> tuple[Any, Any, Any]:
    """Three matrices (places along beta, places along alpha): both steps and the height."""

    heights = _scale(what) * table.pivot(index="beta", columns="alpha", values=what)
    return (*np.meshgrid(heights.columns, heights.index), heights.to_numpy())


def _scale(what: str) -> int:
    return 100 if what == "accuracy" else 1


# The map of losses: a row for each, between cross-entropy on the left and the mean absolute error on the right.

TINTS = {"likelihood": BLUE, "scoring rule": GREEN, "surrogate": VERMILLION, "heuristic": PURPLE}
ROW = 0.3  # inches
POST = 0.2


def loss_map(ax: Any = None, *, narrow: bool = False, link: str = "") -> Any:
    """Draw which losses equal or tend to which, and at which parameters: every line is a test of the package.

    Args:
        ax: new axes of the right size if left out.
        narrow: for 400 pixels instead of 1,100.
        link: what a loss's address begins with, such as `#card-`; in SVG each box then leads there.
    """
    pen = _MapPen(narrow, link)
    lines = _lines_of_map()
    groups = {origin: [name for name in lines if LOSSES[name].origin == origin] for origin in ORIGINS}
    height = ROW * (sum(len(lines[name]) for names in groups.values() for name in names) + 1.3 * len(groups) + 1)
    if ax is None:
        ax = plt.figure(figsize=(pen.width, height)).add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, pen.width), ylim=(height, 0))
    ax.set_axis_off()
    pen.post(ax, 0, height, "cross_entropy", LOSSES["cross_entropy"].title)
    pen.post(ax, pen.width - POST, height, "generalized_cross_entropy", "mean absolute error")
    y = 0.0
    for origin, names in groups.items():
        y += ROW
        ax.text(pen.node[0], y, origin, fontsize=pen.font + 0.5, color=TINTS[origin], fontweight="bold", va="center")
        for name in names:
            for number, (left, right, other) in enumerate(lines[name]):
                y += ROW
                pen.row(ax, y, name, TINTS[origin], left, right, other, first=number == 0)
        y += 0.3 * ROW
    return ax


def _lines_of_map() -> dict[str, list[tuple[str, str, str]]]:
    """The rows of each loss: what leads left to cross-entropy, what leads right, and to which loss; "" for nothing."""
    left: dict[str, list[str]] = {name: [] for name in LOSSES if name != "cross_entropy"}
    right: dict[str, list[tuple[str, str]]] = {name: [] for name in left}
    right["generalized_cross_entropy"].append(("q = 1", ""))
    for entry in EDGES:
        _, name, params = entry.terms[-1]
        text = ": ".join(part for part in (describe(entry), describe_terms(entry)) if part)
        if name == "cross_entropy":
            left[entry.loss].append(text or "always")
        else:
            right[entry.loss].append((text, "" if (name, params) == ABSOLUTE_ERROR[1:] else name))
    rows: dict[str, list[tuple[str, str, str]]] = {}
    for name in left:
        pairs = itertools.zip_longest(["\nor ".join(left[name])], right[name] or [("", "")], fillvalue="")
        rows[name] = [(to_left, *(on or ("", ""))) for to_left, on in pairs]
    return rows


class _MapPen:
    """Where things stand in a row of the map, in inches, and how they are drawn."""

    def __init__(self, narrow: bool, link: str) -> None:
        self.link = link
        self.width, self.font = (4.2, 6.4) if narrow else (8.4, FIGURE_FONT)
        self.node = (1.22, 2.48) if narrow else (2.5, 4.6)
        self.other = (3.16, 3.94) if narrow else (6.3, 8.1)
        self.letters = 16.5 if narrow else 14.5  # to the inch

    def row(self, ax: Any, y: float, name: str, colour: str, left: str, right: str, other: str, *, first: bool) -> None:
        """One row: the loss's box where it is the `first` of its rows, its lines, and the box of another loss."""
        if first:
            self.box(ax, y, self.node, name, LOSSES[name].title, colour)
        if left:
            self.line(ax, y, POST, self.node[0], left)
        if right:
            end = self.other[0] if other else self.width - POST
            self.line(ax, y, self.node[1] if first else self.node[1] - 0.12, end, right)
            if not first:
                ax.plot([self.node[1] - 0.12] * 2, [y, y - ROW], color=GREY, linewidth=0.8, zorder=1)
        if other:
            self.box(ax, y, self.other, other, LOSSES[other].title, GREY)

    def box(self, ax: Any, y: float, ends: tuple[float, float], name: str, text: str, colour: str) -> None:
        """A loss's title in a frame that leads to its card."""
        style = "round,pad=0,rounding_size=0.05"
        start, size = (ends[0], y - 0.42 * ROW), (ends[1] - ends[0], 0.84 * ROW)
        frame = FancyBboxPatch(start, *size, boxstyle=style, facecolor="white", edgecolor=colour, linewidth=1, zorder=3)
        folded = self.fold(text, ends[1] - ends[0])
        words = ax.text(sum(ends) / 2, y, folded, fontsize=self.font, color=INK, ha="center", va="center", zorder=4)
        words.set_linespacing(0.95)
        ax.add_patch(frame)
        if self.link:
            for part in (frame, words):
                part.set_url(self.link + name)

    def line(self, ax: Any, y: float, start: float, end: float, text: str) -> None:
        """A line with what holds on it."""
        ax.plot([start, end], [y, y], color=GREY, linewidth=0.8, zorder=1, solid_capstyle="butt")
        folded = "\n".join(self.fold(part, end - start - 0.1) for part in text.split("\n"))
        look = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        words = {"fontsize": self.font - 0.6, "color": INK, "ha": "center", "va": "center", "bbox": look, "zorder": 2}
        ax.text((start + end) / 2, y, folded, **words).set_linespacing(0.95)

    def fold(self, text: str, inches: float) -> str:
        """The text in lines that fit."""
        return textwrap.fill(text, int(inches * self.letters), break_on_hyphens=False, break_long_words=False)

    def post(self, ax: Any, start: float, height: float, name: str, text: str) -> None:
        """The bar that stands for a loss which many are tied to."""
        bar = Rectangle((start, 0), POST, height, color=INK, linewidth=0)
        ax.add_patch(bar)
        places = np.linspace(0, height, 6)[1:-1:2] if height > 6 else [height / 2]
        words = [
            ax.text(start + POST / 2, y, text, rotation=90, color="white", fontsize=self.font, ha="center", va="center")
            for y in places
        ]
        if self.link:
            for part in (bar, *words):
                part.set_url(self.link + name)
