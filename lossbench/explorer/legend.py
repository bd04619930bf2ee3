"""The legend cell of the explorer's picture: a row for each side, repainted only when its words change."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from lossbench.explorer.comparison import Comparison
from lossbench.explorer.panels import LEFT, OTHERS, RIGHT, Look
from lossbench.plots.style import INK

COLUMN, TOP, ROW = 330, 236, 33  # pixels; the top is measured from the lower edge of the figure
LETTERS = 40
Cell = tuple[slice, slice]


class Legend:
    """Rows of a line sample and a label, at the right of the lower half of the figure."""

    def __init__(self, figure: Any, left: int, height: int) -> None:
        self.left, self.height = left, height
        self.ax = figure.add_axes((2 / 3, 0.0, 1 / 3, 0.5))
        self.ax.set_axis_off()
        self.ax.set(xlim=(0, COLUMN), ylim=(0, height))
        self.rows = [self._row(place, look) for place, look in enumerate((LEFT, RIGHT, *OTHERS))]

    def _row(self, place: int, look: Look) -> tuple[Any, Any]:
        y = TOP - (place + 0.5) * ROW
        marker = {"marker": look.marker, "markersize": 4.5, "markerfacecolor": "none"} if look.marker else {}
        style = {"color": look.colour, "linestyle": look.dashes, "linewidth": look.width}
        (sample,) = self.ax.plot([16, 38, 60], [y] * 3, animated=True, **style, **marker)
        label = self.ax.text(70, y, "", fontsize=8, color=INK, va="center", linespacing=1.1, animated=True)
        return sample, label

    def changes(self, comparison: Comparison) -> Iterator[tuple[Cell, Callable[[], None]]]:
        """Rows whose label is no longer what it was: the pixels they cover, and how to paint them there."""
        labels = [f"left: {comparison.left.label}", f"right: {comparison.right.label}"]
        labels += [one.label for one in comparison.others[: len(OTHERS)]]
        labels += [""] * (len(self.rows) - len(labels))
        for place, ((sample, label), words) in enumerate(zip(self.rows, labels, strict=True)):
            text = textwrap.fill(words, LETTERS)
            if text != label.get_text():
                label.set_text(text)
                sample.set_visible(bool(text))
                yield self._cell(place), partial(self._paint, sample, label)

    def _cell(self, place: int) -> Cell:
        top = 2 * self.height - TOP + place * ROW
        return slice(top, top + ROW), slice(self.left, self.left + COLUMN)

    def _paint(self, sample: Any, label: Any) -> None:
        for artist in (sample, label):
            if artist.get_visible():
                self.ax.draw_artist(artist)
