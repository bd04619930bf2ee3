"""What losses and probability functions have in common: a pure function whose signature declares its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

from lossbench.card import Card, read_card
from lossbench.registry import Anything, Boolean, Check, Number, OneOf, Whole, check_all


@dataclass(frozen=True)
class Slider:
    """A numeric control from `low` to `high` in steps of `step`; whole numbers when all three are ints."""

    low: float
    high: float
    step: float


@dataclass(frozen=True)
class Choices:
    """A control that offers these values; it starts at the first where the default is none of them."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Fixed:
    """No control: the explorer holds the parameter at this value."""

    value: Any


@dataclass(frozen=True)
class Search:
    """Where a tuner looks for the best value: from `low` to `high`, evenly or (`log`) evenly in the logarithm."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Symbol:
    """How figures and tables write the parameter."""

    text: str


Control = Slider | Choices | Fixed


def slider(low: float, high: float, step: float) -> Slider:
    """The explorer's slider for a number."""
    return Slider(low, high, step)


def choices(*values: Any) -> Choices:
    """The values that the explorer offers, where they are not those that the check allows."""
    return Choices(values)


def fixed(value: Any) -> Fixed:
    """The value that the explorer does not let change."""
    return Fixed(value)


def search(low: float, high: float, *, log: bool = False) -> Search:
    """The range that a tuner searches."""
    return Search(low, high, log)


def symbol(text: str) -> Symbol:
    """The letter in labels, such as γ."""
    return Symbol(text)


@dataclass(frozen=True)
class Parameter:
    """A hyperparameter as the signature declares it: `gamma: Annotated[float, at_least(0.0), symbol("γ")] = 2.0`.

    Attributes:
        check: of a value, see `lossbench.registry`.
        control: what moves it in the explorer; None where nothing can.
        search: where a tuner looks; None where it need not.
        symbol: its letter in labels, else its name.
    """

    name: str
    default: Any
    check: Check
    control: Control | None
    search: Search | None
    symbol: str

    @property
    def start(self) -> Any:
        """The explorer's first value."""
        if isinstance(self.control, Fixed):
            return self.control.value
        if isinstance(self.control, Choices) and self.default not in self.control.values:
            return self.control.values[0]
        return self.default


@dataclass(frozen=True)
class Entry:
    """One registered function.

    Attributes:
        name: the function's own name, used in configurations, tables and figures.
        title: how prose writes the name.
        function: tensors first, then hyperparameters.
        parameters: its hyperparameters.
        shown: hyperparameters that labels and run ids always show.
        reconstruction: the source does not state this formula; it is our reading.
        card: its facts, read from the docstring.
        together: checks hyperparameters that limit each other; gets all of them.
    """

    name: str
    title: str
    function: Callable[..., Any]
    parameters: dict[str, Parameter]
    shown: tuple[str, ...]
    reconstruction: bool
    card: Card
    together: Callable[[Mapping[str, Any]], None] | None

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """The value of each hyperparameter that is not given."""
        return {name: parameter.default for name, parameter in self.parameters.items()}

    @cached_property
    def controls(self) -> dict[str, Slider | Choices]:
        """What the explorer lets a reader move: a control for each parameter that is not fixed."""
        controls = {name: parameter.control for name, parameter in self.parameters.items()}
        return {name: control for name, control in controls.items() if isinstance(control, Slider | Choices)}

    @cached_property
    def starts(self) -> dict[str, Any]:
        """Every parameter's value before anything was moved."""
        return {name: parameter.start for name, parameter in self.parameters.items()}

    def check(self, params: Mapping[str, object]) -> dict[str, Any]:
        """Validate and coerce the given hyperparameters; return only those given.

        Raises:
            TypeError: an unknown hyperparameter, or one of the wrong type.
            ValueError: a value out of range, or values that do not go together.
        """
        given = check_all(self.name, {name: parameter.check for name, parameter in self.parameters.items()}, params)
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
            f"{self.parameters[name].symbol}={_brief(value)}"
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


def read_signature(
    function: Callable[..., Any], tensors: tuple[str, ...]
) -> tuple[tuple[str, ...], dict[str, Parameter]]:
    """The tensors and the hyperparameters of a function, with what its annotations declare of them.

    A hyperparameter stands after `*`, or is no known name of `tensors` and has a default.

    Raises:
        TypeError: a hyperparameter without a default, `*args`, `**kwargs`, an annotation that cannot be read, or a
            default that fails its own check.
    """
    name = function.__name__
    taken: list[str] = []
    parameters: dict[str, Parameter] = {}
    for key, parameter in inspect.signature(function).parameters.items():
        positional, defaulted = (
            parameter.kind is parameter.POSITIONAL_OR_KEYWORD,
            parameter.default is not parameter.empty,
        )
        if positional and (key in tensors or not defaulted):
            taken.append(key)
        elif defaulted and (positional or parameter.kind is parameter.KEYWORD_ONLY):
            parameters[key] = _declare(function, key, parameter.annotation, parameter.default)
        elif parameter.kind is parameter.KEYWORD_ONLY:
            raise TypeError(f"{name}: give the hyperparameter {key} a default, such as {key}=1.0")
        else:
            raise TypeError(f"{name}: name each tensor and hyperparameter; {parameter} cannot be used here")
    return tuple(taken), parameters


def _declare(function: Callable[..., Any], key: str, annotation: Any, default: Any) -> Parameter:
    kind, facts = _read_annotation(function, key, annotation)
    checks = [fact for fact in facts if callable(fact)]
    check: Check = checks[0] if checks else _check_like(type(default) if kind is None else kind)
    default = check(f"{function.__name__}: {key}", default)
    controls = [fact for fact in facts if isinstance(fact, Control)]
    letters = [fact.text for fact in facts if isinstance(fact, Symbol)]
    return Parameter(
        key,
        default,
        check,
        controls[0] if controls else _control_like(check, default),
        next((fact for fact in facts if isinstance(fact, Search)), None),
        letters[0] if letters else key,
    )


def _read_annotation(function: Callable[..., Any], key: str, annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    if annotation is inspect.Parameter.empty:
        return None, ()
    try:
        only = SimpleNamespace(__annotations__={key: annotation})
        hint = get_type_hints(only, globalns=function.__globals__, include_extras=True)[key]
    except Exception as error:
        why = f"the annotation of {key} cannot be read, {annotation!r} ({error})"
        raise TypeError(f"{function.__name__}: {why}; write it with names of the file's top level") from None
    if not hasattr(hint, "__metadata__"):
        return hint, ()
    return get_args(hint)[0], hint.__metadata__


def _check_like(kind: Any) -> Check:
    """Where no check is written: what the annotation says, else the type of the default."""
    kinds: dict[Any, Check] = {bool: Boolean(), int: Whole(), float: Number(), str: Anything(text=True)}
    return kinds.get(kind, Anything())


def _control_like(check: Check, default: Any) -> Control | None:
    """Where no control is written: what the check allows, else a range around the default."""
    if isinstance(check, Boolean):
        return Choices((False, True))
    if isinstance(check, OneOf):
        return Choices(check.allowed)
    low, high = getattr(check, "low", -float("inf")), getattr(check, "up_to", float("inf"))
    if isinstance(check, Whole):
        return Slider(max(min(1, default), low), min(max(10, 3 * default), high), 1)
    if isinstance(check, Number):
        size = abs(default) or 1.0
        return Slider(max(min(default, size / 10), low), min(3 * size, high), size / 20)
    return None


def describe_function(
    function: Callable[..., Any],
    parameters: dict[str, Parameter],
    *,
    title: str,
    shown: tuple[str, ...],
    together: Callable[[Mapping[str, Any]], None] | None = None,
    reconstruction: bool = False,
) -> dict[str, Any]:
    """The fields of `Entry` that every registered function has."""
    name = function.__name__
    if strangers := set(shown) - set(parameters):
        raise TypeError(f"{name}: shown parameters {sorted(strangers)} are not its hyperparameters")
    typed = ", ".join(f"{key}={parameter.default!r}" for key, parameter in parameters.items())
    return {
        "name": name,
        "title": title or name.replace("_", " "),
        "function": function,
        "parameters": parameters,
        "shown": shown,
        "reconstruction": reconstruction,
        "card": read_card(name, function.__doc__, parameters=typed, reconstruction=reconstruction),
        "together": together,
    }
