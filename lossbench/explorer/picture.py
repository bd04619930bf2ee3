"""The explorer's picture: one Figure that lives as long as the widget, of which a step redraws only the curves.

Axes, ticks and titles are painted once into a background and again only where limits change; each step copies the
background, paints curves, markers and legend on it and packs the pixels: a few milliseconds instead of hundreds.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lossbench.explorer.comparison import Comparison, Scale
from lossbench.explorer.curves import Curves
from lossbench.explorer.legend import Legend
from lossbench.explorer.limits import Limits, choose_limits
from lossbench.explorer.measure import Measured
from lossbench.explorer.panels import (
    LEFT,
    OTHERS,
    PANELS,
    RIGHT,
    X_LABELS,
    X_LIMITS,
    Look,
    Panel,
    tick_label,
    to_scale,
)
from lossbench.explorer.png import Pixels, encode_png
from lossbench.plots.style import GREY, INK, settle

COLUMN, HEIGHT, DPI = 330, 480, 100  # pixels of a strip of two panels
STRIPS = 3


class PanelView:
    """One axes of the picture with its artists and limits."""

    def __init__(self, figure: Any, column: int, row: int) -> None:
        self.cell = (slice(row * HEIGHT // 2, (row + 1) * HEIGHT // 2), slice(column * COLUMN, (column + 1) * COLUMN))
        left, bottom = (column * COLUMN + 52) / (STRIPS * COLUMN), (1 - row) * 0.5 + 44 / HEIGHT
        self.ax = figure.add_axes((left, bottom, (COLUMN - 68) / (STRIPS * COLUMN), 0.5 - 72 / HEIGHT))
        self.zero = self.ax.axhline(0, color=GREY, linewidth=0.6)
        self.chance = self.ax.axvline(0, color=GREY, linewidth=0.8, linestyle=":", animated=True)
        self.others = [self._line(look, animated=False) for look in OTHERS]
        self.right, self.left = self._line(RIGHT), self._line(LEFT)
        (self.crossings,) = self.ax.plot([], [], "o", ms=7, mfc="none", mec=INK, mew=1.4, animated=True, zorder=5)
        self.limits: Limits | None = None
        self.stale = True

    def _line(self, look: Look, **style: Any) -> Any:
        style = {"animated": True, **style}
        return self.ax.plot([], [], color=look.colour, linestyle=look.dashes, linewidth=look.width, **style)[0]

    def set_limits(self, limits: Limits) -> None:
        """Take new limits; the background must then be painted again."""
        if limits != self.limits:
            self.limits, self.stale = limits, True
            self.ax.set_ylim(*limits)

    def set_scale(self, scale: Scale, title: str, x_label: str, x_limits: Limits) -> None:
        """Title, labels and ticks for another axis or scale."""
        self.limits, self.stale = None, True
        settle(self.ax, title, x_label, "")
        self.ax.title.set_fontweight("normal")
        self.ax.set_xlim(*x_limits)
        self.ax.xaxis.set_major_locator(MaxNLocator(5))
        self.ax.yaxis.set_major_locator(MaxNLocator(5, integer=scale == "log"))
        self.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick_label(value, scale)))
        self.zero.set_visible(scale == "linear")

    def paint(self) -> None:
        """Draw the artists of a step."""
        for artist in (self.chance, self.right, self.left, self.crossings):
            if artist.get_visible():
                self.ax.draw_artist(artist)


class CurvePicture:
    """Draws comparisons, strip by strip."""

    def __init__(self) -> None:
        self.figure = Figure(figsize=(STRIPS * COLUMN / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
        self.canvas: Any = FigureCanvasAgg(self.figure)
        self.views = {(column, row): PanelView(self.figure, column, row) for column in (0, 1) for row in (0, 1)}
        self.batch = PanelView(self.figure, 2, 0)
        self.batch.set_scale("log", "pull of each image of a real batch", "softmax p of the image's target", (0.0, 1.0))
        for line, look in ((self.batch.right, RIGHT), (self.batch.left, LEFT)):
            line.set(linestyle="none", marker=look.marker, markersize=4.5, markeredgewidth=1.0, markerfacecolor="none")
        self.legend = Legend(self.figure, 2 * COLUMN, HEIGHT // 2)
        self.look: tuple[Any, ...] = ()
        self.behind: tuple[Curves, ...] = ()
        self.pixels = self._buffer()
        self.pixels[:] = 255
        self.background = self.pixels.copy()

    def draw(self, comparison: Comparison, measured: Measured) -> None:
        """Draw a comparison into `pixels` (height, width, 4)."""
        self._set_look(comparison)
        for panel in PANELS[comparison.axis]:
            self._set_curves(self.views[panel.column, panel.row], panel, comparison, measured)
        self._set_batch(measured)
        self._refresh_background(comparison, measured)
        np.copyto(self.pixels, self.background)
        for view in (*self.views.values(), self.batch):
            view.paint()

    def _buffer(self) -> Pixels:
        """The canvas's own pixels: what is written here is what is drawn on."""
        return np.asarray(self.canvas.get_renderer().buffer_rgba())

    def png(self) -> bytes:
        """The picture that was drawn last in one piece, packed small."""
        return encode_png(self.pixels, level=9)

    def strips(self) -> list[bytes]:
        """The picture that was drawn last as PNGs of one column each, for screens of any width."""
        return [encode_png(self.pixels[:, k * COLUMN : (k + 1) * COLUMN]) for k in range(STRIPS)]

    def _set_look(self, comparison: Comparison) -> None:
        look = (comparison.axis, comparison.scale)
        if look == self.look:
            return
        self.look, self.behind = look, ()
        for panel in PANELS[comparison.axis]:
            scale = _scale_of(panel, comparison)
            x_label, x_limits = X_LABELS[comparison.axis], X_LIMITS[comparison.axis]
            self.views[panel.column, panel.row].set_scale(scale, panel.title(scale), x_label, x_limits)

    def _set_curves(self, view: PanelView, panel: Panel, comparison: Comparison, measured: Measured) -> None:
        scale, axis = _scale_of(panel, comparison), comparison.axis
        values = []
        for line, one in ((view.right, measured.right), (view.left, measured.left)):
            values.append(to_scale(getattr(one, panel.quantity), scale))
            line.set_data(getattr(one, axis), values[-1])
        if not _identical(measured.others, self.behind):
            for line, other in zip_longest(view.others, measured.others[: len(OTHERS)]):
                shown = ([], []) if other is None else (getattr(other, axis), getattr(other, panel.quantity))
                line.set_data(shown[0], to_scale(np.asarray(shown[1], dtype=float), scale))
            view.stale = True
        view.set_limits(choose_limits(np.concatenate(values), panel.coverage, scale, view.limits))
        view.chance.set_visible(axis == "p")
        view.chance.set_xdata([1 / comparison.num_classes] * 2)
        found = measured.crossings.get(panel.quantity, [])
        heights = to_scale(np.array([one.value for one in found], dtype=float), scale)
        view.crossings.set_data([one.at for one in found], heights)

    def _set_batch(self, measured: Measured) -> None:
        left, right = (to_scale(pull.size, "log") for pull in measured.pulls)
        self.batch.left.set_data(measured.pulls[0].p, left)
        self.batch.right.set_data(measured.pulls[1].p, right)
        self.batch.set_limits(choose_limits(np.concatenate([left, right]), 1.0, "log", self.batch.limits))

    def _refresh_background(self, comparison: Comparison, measured: Measured) -> None:
        """Paint again what changed of axes and legend, each within its own cell."""
        self.behind = measured.others
        for view in (*self.views.values(), self.batch):
            if view.stale:
                self.pixels[view.cell] = 255
                view.ax.draw(self.canvas.get_renderer())
                self.background[view.cell] = self.pixels[view.cell]
                view.stale = False
        for cell, paint in self.legend.changes(comparison):
            self.pixels[cell] = 255
            paint()
            self.background[cell] = self.pixels[cell]


def _scale_of(panel: Panel, comparison: Comparison) -> Scale:
    return "linear" if panel.quantity == "p" else comparison.scale


def _identical(some: tuple[Curves, ...], others: tuple[Curves, ...]) -> bool:
    return len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))
