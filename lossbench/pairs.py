"""What a command line's `name=value` and `loss:name=value` say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossbench.papers import LossSpec


def parse_pairs(pairs: Sequence[str] | None, option: str) -> dict[str, Any]:
    """Turn `["gamma=2", "on=logits"]` into a dict; values are JSON where they can be, else text."""
    values: dict[str, Any] = {}
    for pair in pairs or []:
        key, sign, text = pair.partition("=")
        if not sign or not key.isidentifier():
            raise ValueError(f"{option} takes name=value, such as gamma=2, got {pair!r}")
        if key in values:
            raise ValueError(f"{option} {key} was given twice: {values[key]!r} and {text!r}")
        values[key] = parse_value(text)
    return values


def parse_value(text: str) -> Any:
    """Read `2`, `0.5`, `true`, `null`, `{"a": 1}`, also `True` and `None`; anything else stays text."""
    try:
        return json.loads({"True": "true", "False": "false", "None": "null"}.get(text, text))
    except json.JSONDecodeError:
        return text


def parse_losses(losses: Sequence[str] | None, option: str) -> list[LossSpec]:
    """Turn `["focal:gamma=2", "mse"]` into names and parameters; several parameters are parted by commas."""
    specs: list[LossSpec] = []
    for text in losses or []:
        name, _, parameters = text.partition(":")
        specs.append((name, parse_pairs(parameters.split(",") if parameters else None, f"{option} {name}")))
    return specs
