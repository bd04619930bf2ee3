"""The explorer in a notebook: `explorer.js` draws it, the kernel answers when it asks for tables and networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any

import anywidget
import traitlets

from lossbench.explorer.comparison import PRESETS, Comparison, Scale
from lossbench.explorer.setup import comparison_of, opening, read_side, state_of, surface
from lossbench.explorer.tables import make_table
from lossbench.losses.curves import Axis, Side, side
from lossbench.registry import unknown

HERE = files("lossbench.explorer")


class Explorer(anywidget.AnyWidget):
    """Two losses side by side, with a slider for everything. Show it by making it the last line of a cell.

    `comparison` is what is shown, `code` the line that shows it again; both follow the controls.
    """

    _esm = HERE.joinpath("explorer.js").read_text(encoding="utf-8")
    _css = HERE.joinpath("explorer.css").read_text(encoding="utf-8")
    setup = traitlets.Dict().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)

    def __init__(self, comparison: Comparison, preset: str = "") -> None:
        super().__init__(setup=opening(comparison), state=state_of(comparison, preset))
        self.on_msg(lambda _, message, __: self.answer(message))

    @property
    def comparison(self) -> Comparison:
        """What the controls say now. Raises: ValueError when its parameters do not go together."""
        return comparison_of(self.state)

    @property
    def code(self) -> str:
        """The call of `explore` that shows the present state again."""
        preset = self.state["preset"]
        return self.comparison.code(preset, PRESETS[preset].comparison if preset else None)

    def answer(self, message: dict[str, Any]) -> None:
        """Send the page the table or the trained network that it asks for."""
        reply = {name: message[name] for name in ("kind", "key", "wanted")}
        if message["kind"] == "moons":
            self.send(reply | surface(read_side(message["side"]), message["noise"], message["seed"]))
            return
        try:
            table = make_table(message["kind"], read_side(message["side"]), message["num_classes"], message["free"])
        except ValueError as error:
            table = {"error": str(error)}
        self.send(reply | {"table": table})

    def _ipython_display_(self) -> None:
        from IPython import display

        from lossbench.explorer.in_page import fallback

        bundle: Any = self._repr_mimebundle_()
        display.display({**bundle[0], "text/plain": self.code}, raw=True)  # type: ignore[no-untyped-call]
        # Where the widget is alive, the page's own explorer below it stays asleep and hidden.
        display.display(display.HTML(fallback(self.comparison, self.state["preset"])))  # type: ignore[no-untyped-call]

    def __repr__(self) -> str:
        return self.code


def explore(
    left: Side | str | None = None,
    right: Side | str | None = None,
    *,
    preset: str = "",
    others: Sequence[Side] | None = None,
    axis: Axis | None = None,
    scale: Scale | None = None,
    curvature: Axis | None = None,
    num_classes: int | None = None,
    noise: float | None = None,
    seed: int | None = None,
) -> Explorer:
    """Open the explorer; in a notebook, make this the last line of a cell.

    Args:
        left, right: `side(...)` or the name of a loss; None for the preset's, or focal and cross_entropy.
        preset: a name in `PRESETS`: a figure or grid of one of the papers.
        others: up to five sides drawn thinly behind.
        axis: "p", the target's probability, or "z", its logit.
        scale: "linear", or "log" for sizes on a logarithmic scale.
        curvature: "z" for d²L/dz², or "p" for d²L/dp².
        num_classes: number of classes, 2 to 1000.
        noise: share of flipped points on the two moons, 0 to 0.5.
        seed: of those points and the network's first weights.

    Raises:
        ValueError: an unknown name or a value out of range.
        TypeError: a side that is neither a `side(...)` nor a name.
    """
    if preset and preset not in PRESETS:
        raise ValueError(unknown("preset", preset, PRESETS))
    start = PRESETS[preset].comparison if preset else Comparison()
    sides = {"left": _side(left), "right": _side(right), "others": None if others is None else tuple(others)}
    settings = {"axis": axis, "scale": scale, "curvature": curvature, "num_classes": num_classes}
    given = {**sides, **settings, "noise": noise, "seed": seed}
    return Explorer(replace(start, **{k: v for k, v in given.items() if v is not None}), preset)  # type: ignore[arg-type]


def _side(given: Side | str | None) -> Side | None:
    return side(given) if isinstance(given, str) else given
