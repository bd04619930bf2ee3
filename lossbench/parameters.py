"""Checks for hyperparameters: each takes the argument's name and value, and returns the value to use.

A wrong type is a `TypeError`, a wrong value a `ValueError`; both name the argument and quote what came.
No check makes a tensor, so configurations are validated without touching a device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

from lossbench.names import unknown

Check = Callable[[str, object], Any]


def _as_float(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return number


def any_number() -> Check:
    """Any finite number, as a float."""
    return _as_float


def at_least(low: float) -> Check:
    """A finite number >= `low`, as a float."""

    def check(name: str, value: object) -> float:
        number = _as_float(name, value)
        if number < low:
            raise ValueError(f"{name} must be at least {low:g}, got {value!r}")
        return number

    return check


def above(low: float, *, up_to: float = math.inf) -> Check:
    """A finite number with `low` < value <= `up_to`, as a float."""

    def check(name: str, value: object) -> float:
        number = _as_float(name, value)
        if not low < number <= up_to:
            limit = "" if up_to == math.inf else f" and at most {up_to:g}"
            raise ValueError(f"{name} must be above {low:g}{limit}, got {value!r}")
        return number

    return check


def whole(low: int) -> Check:
    """A whole number >= `low`, as an int; 3.0 counts as 3."""

    def check(name: str, value: object) -> int:
        number = _as_float(name, value)
        if not isinstance(value, Integral) and not number.is_integer():
            raise ValueError(f"{name} must be a whole number, got {value!r}")
        if number < low:
            raise ValueError(f"{name} must be at least {low}, got {value!r}")
        return int(number)

    return check


def boolean() -> Check:
    """True or False and nothing that merely looks like it."""

    def check(name: str, value: object) -> bool:
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False, got {value!r}")
        return value

    return check


def one_of(*allowed: str) -> Check:
    """One of the given words."""

    def check(name: str, value: object) -> str:
        if not isinstance(value, str):
            raise TypeError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
        if value not in allowed:
            raise ValueError(unknown(name, value, allowed))
        return value

    return check


def check_all(owner: str, checks: Mapping[str, Check], given: Mapping[str, object]) -> dict[str, Any]:
    """Check and coerce the `given` parameters of `owner`, and only those.

    Raises:
        TypeError: a parameter that `owner` does not have, or one of the wrong type.
        ValueError: a value outside its range.
    """
    for name in given:
        if not checks:
            raise TypeError(f"{owner} takes no parameters, got {name}={given[name]!r}")
        if name not in checks:
            raise TypeError(unknown(f"parameter of {owner}", name, checks))
    return {name: checks[name](f"{owner}: {name}", value) for name, value in given.items()}
