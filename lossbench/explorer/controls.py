"""The controls of one side: menus for the loss and the probability function, and a slider for every parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets

from lossbench.entry import Entry, Parameter
from lossbench.explorer.panels import Look
from lossbench.explorer.ranges import Choices, Control, Slider, find_controls
from lossbench.explorer.sides import Side, drawable_losses, side
from lossbench.losses import LOSSES
from lossbench.probabilities import PROBABILITIES

STYLE = {"description_width": "84px"}
WIDE = widgets.Layout(width="auto")


class SideControls:
    """Widgets that hold one `Side`; `changed` is called after every move by hand."""

    def __init__(self, name: str, look: Look, shown: Side, changed: Callable[[], None]) -> None:
        self.changed = changed
        self.quiet = False
        self.made: dict[tuple[str, str], Any] = {}
        line = "dashed" if look.dashes != "-" else "solid"
        heading = f'<b style="border-bottom: 3px {line} {look.colour}">{name} ({line} line)</b>'
        self.loss = self._menu("loss", drawable_losses())
        self.loss_box = widgets.VBox()
        self.probability = self._menu("probability", list(PROBABILITIES))
        self.probability_box = widgets.VBox()
        parts = [widgets.HTML(heading), self.loss, self.loss_box, self.probability, self.probability_box]
        self.box = widgets.VBox(parts, layout=widgets.Layout(flex="1 1 280px", min_width="0", padding="0 12px 0 0"))
        self.held: dict[str, Any] = {}
        self.write(shown)

    def read(self) -> Side:
        """The side that the controls stand for.

        Raises: ValueError when its parameters do not go together.
        """
        loss, probability = LOSSES[self.loss.value], PROBABILITIES[self.probability.value]
        held = self.held if self.held.get("loss") == loss.name else {}
        params = {name: value for name, value in held.items() if name != "loss"} | self._values(loss)
        return side(loss.name, probability=probability.name, probability_params=self._values(probability), **params)

    def write(self, shown: Side) -> None:
        """Move the controls to a side without calling `changed`."""
        self.quiet = True
        try:
            self.loss.value, self.probability.value = shown.loss, shown.probability
            self._lay_out(LOSSES[shown.loss], self.loss_box, shown.loss_params)
            self._lay_out(PROBABILITIES[shown.probability], self.probability_box, shown.probability_params)
            without = set(shown.loss_params) - set(find_controls(LOSSES[shown.loss]))
            self.held = {"loss": shown.loss, **{name: shown.loss_params[name] for name in without}}
        finally:
            self.quiet = False

    def _menu(self, description: str, options: list[str]) -> Any:
        menu = widgets.Dropdown(options=options, description=description, style=STYLE, layout=WIDE)
        menu.observe(self._on_menu, "value")
        return menu

    def _on_menu(self, _: Any) -> None:
        if not self.quiet:
            self._lay_out(LOSSES[self.loss.value], self.loss_box, {})
            self._lay_out(PROBABILITIES[self.probability.value], self.probability_box, {})
            self.changed()

    def _on_slider(self, _: Any) -> None:
        if not self.quiet:
            self.changed()

    def _lay_out(self, entry: Entry, box: Any, values: Mapping[str, Any]) -> None:
        """Show the controls of an entry's parameters, at `values` where given."""
        shown = []
        for name, control in find_controls(entry).items():
            widget = self.made.get((entry.name, name))
            if widget is None:
                widget = self.made[entry.name, name] = make_control(entry.parameters[name], control)
                widget.observe(self._on_slider, "value")
            if name in values:
                _move(widget, values[name])
            shown.append(widget)
        box.children = shown

    def _values(self, entry: Entry) -> dict[str, Any]:
        return {name: self.made[entry.name, name].value for name in find_controls(entry)}


def make_control(parameter: Parameter, control: Control) -> Any:
    """A widget for one parameter, standing at its start."""
    value, name = parameter.start, parameter.name
    label = name if parameter.symbol == name else f"{name} {parameter.symbol}"
    common = {"value": value, "description": label, "style": STYLE, "layout": WIDE}
    if isinstance(control, Choices):
        if control.values == (False, True):
            return widgets.Checkbox(**common, indent=True)
        return widgets.Dropdown(options=list(control.values), **common)
    span = {"min": min(control.low, value), "max": max(control.high, value), "step": control.step}
    if all(isinstance(number, int) for number in (control.low, control.high, control.step)):
        return widgets.IntSlider(**span, **common)
    return widgets.FloatSlider(**span, **common, readout_format=_digits(control))


def _digits(control: Slider) -> str:
    return ".1f" if control.step >= 0.1 else ".2f" if control.step >= 0.01 else ".3f"


def _move(widget: Any, value: Any) -> None:
    """Set a value, making room for it where a slider does not reach that far."""
    if hasattr(widget, "min"):
        widget.min, widget.max = min(widget.min, value), max(widget.max, value)
    widget.value = value
