"""A small explorer that the page computes itself: it works in exported HTML, without a kernel and without a network.

It knows the losses below on softmax, their value and their pull on the target's logit. Everything else is in
`explore`.
"""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from uuid import uuid4

from lossbench.explorer.ranges import Slider, find_controls, starting_values
from lossbench.explorer.sides import Side, side
from lossbench.losses import LOSSES
from lossbench.plots.style import BLUE, VERMILLION
from lossbench.registry import unknown

IN_PAGE = (
    "cross_entropy",
    "js_divergence",
    "focal",
    "adma",
    "mse",
    "squared_hinge",
    "sampling_free",
    "confidence_penalty",
)
LOOKS = (
    {"name": "left", "colour": BLUE, "dashes": "none"},
    {"name": "right", "colour": VERMILLION, "dashes": "8 4"},
)


@dataclass(frozen=True)
class InPage:
    """Two sides for the page to compare; a notebook shows it as living HTML."""

    left: Side
    right: Side
    num_classes: int

    def to_html(self) -> str:
        """A block with its own script; safe to repeat on a page."""
        name = f"lossbench-{uuid4().hex[:12]}"
        sides = [{"loss": one.loss, "params": _movable(one)} for one in (self.left, self.right)]
        controls = {loss: _ranges(loss) for loss in IN_PAGE}
        setup = {"sides": sides, "controls": controls, "looks": LOOKS, "num_classes": self.num_classes}
        data = json.dumps(setup).replace("</", "<\\/")
        words = html.escape(f"{self.left.label} and {self.right.label}: this picture needs JavaScript.")
        call = f'mount(document.getElementById("{name}"), {data});'
        return f'<div id="{name}" class="lossbench-in-page">{words}</div><script>{{{script()}\n{call}}}</script>'

    def _repr_html_(self) -> str:
        return self.to_html()


def explore_in_page(left: Side | str = "focal", right: Side | str = "cross_entropy", num_classes: int = 10) -> InPage:
    """Compare two losses in the page itself.

    Args:
        left, right: `side(...)` or the name of a loss in `IN_PAGE`, on softmax.
        num_classes: number of classes.

    Raises: ValueError for a loss, probability function or fixed parameter that the page does not know.
    """
    sides = [side(one) if isinstance(one, str) else one for one in (left, right)]
    for one in sides:
        if one.loss not in IN_PAGE:
            raise ValueError(unknown("loss in the page", one.loss, IN_PAGE) + "; `explore` knows all")
        if one.probability != "softmax" or {**one.loss_params, **_movable(one)} != _plain(one):
            raise ValueError(f"{one!r}: the page knows softmax and plain variants only; `explore` knows all")
    return InPage(sides[0], sides[1], num_classes)


def script() -> str:
    """The JavaScript: formulas, picture and controls."""
    return files("lossbench.explorer").joinpath("in_page.js").read_text(encoding="utf-8")


def _plain(one: Side) -> dict[str, Any]:
    """The side's parameters with everything that has no slider at its default."""
    return {**starting_values(LOSSES[one.loss]), **_movable(one)}


def _movable(one: Side) -> dict[str, float]:
    return {name: one.loss_params[name] for name in _ranges(one.loss)}


def _ranges(loss: str) -> dict[str, dict[str, float]]:
    entry = LOSSES[loss]
    starts = starting_values(entry)
    return {
        name: {"min": control.low, "max": control.high, "step": control.step, "start": starts[name]}
        for name, control in find_controls(entry).items()
        if isinstance(control, Slider)
    }
