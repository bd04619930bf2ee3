"""The explorer's picture without the explorer: for exported pages, lectures and papers."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass, field

from lossbench.explorer.comparison import Comparison
from lossbench.explorer.measure import CROSSED, Measured, measure
from lossbench.explorer.moons_picture import MoonsPicture
from lossbench.explorer.picture import CurvePicture


@dataclass(frozen=True)
class Still:
    """One comparison, drawn once; a notebook shows it with its description.

    Attributes:
        curves_png: the six panels.
        moons_png: the two decision surfaces.
        look: what to look at, in a sentence, or nothing.
    """

    comparison: Comparison
    measured: Measured = field(repr=False)
    curves_png: bytes = field(repr=False)
    moons_png: bytes = field(repr=False)
    look: str = ""

    @property
    def description(self) -> str:
        """What the picture shows, in words: its alternative text."""
        sides = f"Left, solid: {self.comparison.left.label}. Right, dashed: {self.comparison.right.label}."
        crossings = "; ".join(self.measured.sentence(quantity, self.comparison.axis) for quantity in CROSSED)
        return f"{sides} {crossings[:1].upper()}{crossings[1:]}."

    def to_html(self) -> str:
        """A figure that carries its pictures inside, with alternative text and a caption."""
        words = html.escape(self.description, quote=True)
        look = f"<i>{html.escape(self.look)}</i> " if self.look else ""
        surfaces = "Decision surfaces of two networks on two moons, trained with the left and the right loss."
        return (
            '<figure style="margin: 0">'
            f"{_image(self.curves_png, words)}{_image(self.moons_png, surfaces)}"
            f"<figcaption>{look}{words}</figcaption></figure>"
        )

    def _repr_html_(self) -> str:
        return self.to_html()


def draw(comparison: Comparison, look: str = "") -> Still:
    """Draw a comparison once; trains both networks on the moons.

    Raises: ValueError when a loss cannot have this number of classes.
    """
    measured = measure(comparison)
    curves, moons = CurvePicture(), MoonsPicture()
    curves.draw(comparison, measured)
    for _ in moons.draw(comparison):
        pass
    return Still(comparison, measured, curves.png(), moons.png(), look)


def _image(png: bytes, words: str) -> str:
    data = base64.b64encode(png).decode("ascii")
    style = "max-width: 100%; height: auto; display: block"
    return f'<img alt="{words}" src="data:image/png;base64,{data}" style="{style}">'
