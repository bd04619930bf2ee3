"""What losses and probability functions have in common: a pure function with checked hyperparameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lossbench.card import Card
from lossbench.parameters import Check, check_all

SYMBOLS = {"gamma": "γ", "beta": "β", "alpha": "α", "lam": "λ", "kappa": "κ", "nu": "ν", "margin": "m"}


@dataclass(frozen=True)
class Entry:
    """One registered function.

    Attributes:
        name: the function's own name, used in configurations, tables and figures.
        function: tensors first, hyperparameters keyword-only.
        defaults: its hyperparameters with their defaults.
        checks: a check for each hyperparameter, see `lossbench.parameters`.
        shown: hyperparameters that labels and run ids always show.
        reconstruction: the source does not state this formula; it is our reading.
        card: its facts, read from the docstring.
        together: checks hyperparameters that limit each other; gets all of them.
    """

    name: str
    function: Callable[..., Any]
    defaults: dict[str, Any]
    checks: dict[str, Check]
    shown: tuple[str, ...]
    reconstruction: bool
    card: Card
    together: Callable[[Mapping[str, Any]], None] | None

    def check(self, params: Mapping[str, object]) -> dict[str, Any]:
        """Validate and coerce the given hyperparameters; return only those given.

        Raises:
            TypeError: an unknown hyperparameter, or one of the wrong type.
            ValueError: a value out of range, or values that do not go together.
        """
        given = check_all(self.name, self.checks, params)
        if self.together is not None:
            self.together({**self.defaults, **given})
        return given

    def complete(self, params: Mapping[str, object]) -> dict[str, Any]:
        """Validate the given hyperparameters and add the defaults of the others."""
        return {**self.defaults, **self.check(params)}

    def label(self, params: Mapping[str, object] | None = None) -> str:
        """Name for figures and tables, for example "focal γ=2"."""
        values = self.complete(params or {})
        parts = [
            f"{SYMBOLS.get(name, name)}={_brief(value)}"
            for name, value in values.items()
            if name in self.shown or not _same(value, self.defaults[name])
        ]
        return " ".join([self.name, *parts, *(["(reconstruction)"] if self.reconstruction else [])])


def _brief(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (dict, list, tuple)):
        return f"custom[{len(value)}]"
    return str(value)


def _same(value: object, default: object) -> bool:
    return type(value) is type(default) and bool(value == default)


def read_signature(function: Callable[..., Any]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The tensors (before `*`) and the hyperparameters with defaults (after it) of a function.

    Raises:
        TypeError: a hyperparameter without a default, or `*args` or `**kwargs`.
    """
    tensors: list[str] = []
    defaults: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            tensors.append(name)
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is not parameter.empty:
            defaults[name] = parameter.default
        else:
            raise TypeError(f"{function.__name__}: {parameter} is no tensor before * and has no default")
    return tuple(tensors), defaults


def check_defaults(name: str, defaults: Mapping[str, Any], checks: Mapping[str, Check]) -> dict[str, Any]:
    """Coerce the defaults by their own checks, so that a default can never be an invalid value.

    Raises:
        TypeError: a hyperparameter without a check, or a check without a hyperparameter.
    """
    if set(defaults) != set(checks):
        raise TypeError(f"{name}: hyperparameters {sorted(defaults)} but checks for {sorted(checks)}")
    return check_all(name, checks, defaults)


def describe(defaults: Mapping[str, Any]) -> str:
    """The defaults as a reader would type them."""
    return ", ".join(f"{name}={value!r}" for name, value in defaults.items())
