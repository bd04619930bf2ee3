"""What the explorer lets a reader move, as the signatures of the losses and probability functions declare it."""

from __future__ import annotations

from typing import Any

from lossbench.entry import Choices, Entry, Fixed, Slider

__all__ = ["Choices", "Control", "Slider", "find_controls", "starting_values"]

Control = Slider | Choices


def find_controls(entry: Entry) -> dict[str, Control]:
    """The controls of an entry's parameters, without those that are fixed or that nothing can move."""
    controls = {name: parameter.control for name, parameter in entry.parameters.items()}
    return {name: control for name, control in controls.items() if control and not isinstance(control, Fixed)}


def starting_values(entry: Entry) -> dict[str, Any]:
    """Every parameter's value before anything was moved."""
    return {name: parameter.start for name, parameter in entry.parameters.items()}
