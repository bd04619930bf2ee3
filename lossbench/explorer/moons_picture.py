"""The decision surfaces of two networks on the two moons, side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from lossbench.explorer.comparison import Comparison
from lossbench.explorer.moons import ACROSS, COLUMNS, ROWS, UP, Moons, Surface, make_moons, train_on_moons
from lossbench.explorer.png import encode_png
from lossbench.plots.style import BLUE, INK, ORANGE, settle

WIDTH, HEIGHT, DPI = 430, 320, 100  # pixels of one surface
UNDECIDED = np.full((ROWS, COLUMNS), 0.5)
BELIEF = LinearSegmentedColormap.from_list("belief", [BLUE, "#ffffff", ORANGE])


class SurfaceView:
    """One surface, its boundary and the points."""

    def __init__(self, figure: Any, column: int) -> None:
        left = (column * WIDTH + 40) / (2 * WIDTH)
        self.ax = figure.add_axes((left, 46 / HEIGHT, (WIDTH - 52) / (2 * WIDTH), 1 - 94 / HEIGHT))
        settle(self.ax, "", "first coordinate")
        self.ax.set(xlim=ACROSS, ylim=UP)
        self.ax.tick_params(labelleft=True)
        style = {"cmap": BELIEF, "vmin": 0, "vmax": 1, "alpha": 0.75, "interpolation": "bilinear", "aspect": "auto"}
        self.image = self.ax.imshow(UNDECIDED, extent=(*ACROSS, *UP), origin="lower", **style)
        self.points = [self._points("o", BLUE), self._points("^", ORANGE)]
        (self.flipped,) = self.ax.plot([], [], "o", ms=8, mfc="none", mec=INK, mew=0.7)
        middle = {"ha": "center", "va": "center", "transform": self.ax.transAxes}
        self.note = self.ax.text(0.5, 0.5, "", fontsize=8, color=INK, **middle)
        self.boundary: Any = None

    def _points(self, marker: str, colour: str) -> Any:
        return self.ax.plot([], [], marker, ms=4.5, mfc=colour, mec="white", mew=0.6)[0]

    def set(self, title: str, surface: Surface, moons: Moons) -> None:
        """Show a surface over the points it was trained on."""
        if self.boundary is not None:
            self.boundary.remove()
            self.boundary = None
        p = UNDECIDED if surface.p is None else surface.p
        self.image.set_data(p)
        if surface.p is not None and p.min() < 0.5 < p.max():
            grid = (np.linspace(*ACROSS, COLUMNS), np.linspace(*UP, ROWS))
            self.boundary = self.ax.contour(*grid, p, levels=[0.1, 0.5, 0.9], colors=INK, linewidths=[0.6, 1.8, 0.6])
        for value, line in enumerate(self.points):
            line.set_data(*moons.points[moons.target == value].T.numpy())
        self.flipped.set_data(*moons.points[moons.target != moons.truth].T.numpy())
        self.note.set_text(textwrap.fill(surface.message, 44))
        right = "" if surface.p is None else f"\n{surface.accuracy:.1%} of the points right, flips undone"
        self.ax.set_title(textwrap.shorten(title, 62, placeholder=" …") + right, loc="left", fontsize=8.5, color=INK)


class MoonsPicture:
    """Trains both sides and draws what they believe."""

    def __init__(self) -> None:
        self.figure = Figure(figsize=(2 * WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
        self.canvas: Any = FigureCanvasAgg(self.figure)
        self.views = [SurfaceView(self.figure, column) for column in (0, 1)]

    def draw(self, comparison: Comparison) -> Iterator[None]:
        """Train on the comparison's points and draw; gives control back between the networks and before drawing."""
        moons = make_moons(comparison.noise, comparison.seed)
        for view, name, one in zip(self.views, ("left", "right"), (comparison.left, comparison.right), strict=True):
            surface = train_on_moons(one, noise=comparison.noise, seed=comparison.seed)
            yield
            view.set(f"{name}: {one.label}", surface, moons)
        self.canvas.draw()

    def png(self) -> bytes:
        """The picture that was drawn last in one piece, packed small."""
        return encode_png(np.asarray(self.canvas.buffer_rgba()), level=9)

    def strips(self) -> list[bytes]:
        """The picture that was drawn last as PNGs, one a side."""
        pixels = np.asarray(self.canvas.buffer_rgba())
        return [encode_png(pixels[:, :WIDTH]), encode_png(pixels[:, WIDTH:])]
