r"""The catalogue of losses. A loss is one pure function; `register` puts it into `LOSSES` under its own name.

    @register(shown=("gamma",), soft_target="by_class")
    def focal(log_probs: Tensor, target: Tensor, *, gamma: Annotated[float, at_least(0.0)] = 2.0) -> Tensor: ...

**Signature.** Tensors come first, hyperparameters after `*` with defaults. An annotation may say what a hyperparameter
may be and how it is shown: a check (`at_least`, `above`, `whole`, `one_of`, `boolean`), `slider` or `choices` of the
explorer, `search` for tuners, `symbol` for labels. Without a check, the type of the default decides. The tensors are
told from their names:

- `log_probs` (batch, classes), `logits` (batch, classes), `embeddings` (batch, dim), `target` (batch,) int64
  or, if `soft_target` allows, (batch, classes) floats;
- `valid` (batch,) bool, False where the target is `ignore_index` (such targets arrive as class 0 and their
  values are dropped; only a loss that looks across the batch needs this); write `valid: Tensor | None = None`;
- `epoch` and `epochs`, 0-d: which epoch of how many, from 1, for terms that follow a schedule. The trainer sets them;
  in a loop of one's own `criterion.set_epoch(epoch, epochs)` does. With a default of None they may be missing;
- any other name must be returned by the loss's `state`.

A loss that takes `embeddings` gets them as the criterion's input instead of logits. Inputs are float32 or
wider. The function returns (batch,), one loss a sample, and must work under torch.compile and torch.func.vmap: no
Python branch on tensor values, no change in place of its inputs.

**State.** `state=Proxies` names a `LossState` subclass, or a function, called as `state(params, context)`
with all hyperparameters and a `Context` (num_classes, embedding_dim, class_counts, generator;
`context.require("num_classes")` raises the right error). It may return None when these hyperparameters need
no state. Its `forward()` returns a dict of tensors which reach the function by name; one that is named like a
hyperparameter replaces its value, so `adma(..., *, a: float | Tensor = 0.26)` receives a learnable `a`. Draw
random numbers from `context.generator` only.

**Events.** `events={"batches_without_pairs": lacks_pairs}`: each function gets `(inputs, target)` and returns
a 0-d bool tensor; the criterion counts how often it was true (no gradient, no transfer from the device until
it is read).

**Docstring.** A summary line, a `.. math::` block, and the sections of `lossbench.losses.catalogue.SECTIONS` make the
card. A loss
of lossbench's own has them all, as a test demands.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any, Literal, TypeVar, get_args, get_type_hints, overload

import torch
from torch import Tensor, nn

from lossbench.registry import Anything, Boolean, Check, Number, OneOf, Registry, Whole, check_all

# The card of a loss or probability function, read from its docstring: the one place where its facts stand.
#
# A docstring starts with a one-line summary and holds one `.. math::` block. Facts follow as paragraphs that start at
# the left margin with one of the words in `SECTIONS` and a colon; they end at a blank line or the next such word.
# Formulas inside a fact are written :math:`...`.

SECTIONS = {
    "Use when": "use_when",
    "Avoid when": "avoid_when",
    "Range": "range",
    "Gradient": "gradient",
    "At p -> 0": "near_zero",
    "At p -> 1": "near_one",
    "Equals": "equals",
    "Note": "note",
    "Source": "source",
    "Peers": "peers",
}
Origin = Literal["likelihood", "scoring rule", "surrogate", "heuristic"]
ORIGINS: dict[Origin, str] = {
    "likelihood": "minus the log-probability of the target under a model",
    "scoring rule": "another loss of probabilities whose mean is least at the true ones",
    "surrogate": "stands in for errors, margins or ranks, which have no useful gradient",
    "heuristic": "a formula chosen for what its gradient does",
}
_SECTION = re.compile(rf"^({'|'.join(SECTIONS)}):\s*(.*)$")
_INLINE_MATH = re.compile(r":math:`([^`]*)`")
_WORDS = {
    "infty": "∞", "cdot": "·", "le": "≤", "ge": "≥", "ne": "≠", "to": "→", "in": "∈", "sum": "Σ", "prod": "Π",
    "partial": "∂", "delta": "δ", "alpha": "α", "beta": "β", "gamma": "γ", "kappa": "κ", "lambda": "λ", "nu": "ν",
    "tau": "τ", "eta": "η", "theta": "θ", "sigma": "σ", "approx": "≈", "pm": "±", "times": "×", "lVert": "‖",
    "rVert": "‖", "mid": "|", "quad": "  ", "notin": "∉", "top": "T",
    "epsilon": "ε", "pi": "π",
}  # fmt: skip


@dataclass(frozen=True)
class Card:
    """What a reader wants to know about one loss or probability function before using it."""

    name: str
    summary: str
    formula: str
    origin: str = ""
    use_when: str = ""
    avoid_when: str = ""
    range: str = ""
    gradient: str = ""
    near_zero: str = ""
    near_one: str = ""
    equals: str = ""
    note: str = ""
    source: str = ""
    peers: str = ""
    parameters: str = ""
    reconstruction: bool = False

    def text(self, width: int = 100) -> str:
        """Plain text for a terminal, formulas in ordinary characters."""
        title = f"{self.name}: {self.summary}" if self.summary else self.name
        lines = textwrap.wrap(title + self._mark(), width)
        for heading, content in self._rows():
            body = _INLINE_MATH.sub(lambda found: plain_math(found[1]), content)
            if heading == "Formula":
                body = plain_math(body)
            lines += textwrap.wrap(body, width, initial_indent=f"  {heading:<12}", subsequent_indent=" " * 14)
        return "\n".join(lines)

    def _repr_markdown_(self) -> str:
        summary = f": {self.summary}" if self.summary else ""
        formula = ["", f"$$ {self.formula} $$"] if self.formula else []
        lines = [f"**{self.name}**{summary}{self._mark()}", *formula, ""]
        for heading, content in self._rows():
            if heading != "Formula":
                lines.append(f"- *{heading}*: " + _INLINE_MATH.sub(r"$\1$", content))
        return "\n".join(lines)

    def _mark(self) -> str:
        return " [a reconstruction: the source does not give this formula]" if self.reconstruction else ""

    def _rows(self) -> list[tuple[str, str]]:
        rows = [("Formula", self.formula)]
        rows += [(heading, getattr(self, field)) for heading, field in SECTIONS.items()]
        rows[1:1] = [("Parameters", self.parameters), ("Origin", self.origin)]
        return [(heading, content) for heading, content in rows if content]


def read_card(
    name: str, docstring: str | None, *, parameters: str, reconstruction: bool, origin: Origin | None = None
) -> Card:
    """Read a card from a docstring; what it does not say stays empty."""
    text = inspect.cleandoc(docstring or "")
    formula = re.search(r"^\.\. math::\s*(.*?)(?:\n\s*\n|\Z)", text, re.DOTALL | re.MULTILINE)
    return Card(
        name=name,
        summary=text.partition("\n")[0].rstrip("."),
        formula=" ".join(formula[1].split()) if formula else "",
        origin=f"{origin}: {ORIGINS[origin]}" if origin else "",
        parameters=parameters,
        reconstruction=reconstruction,
        **_read_sections(text),
    )


def _read_sections(text: str) -> dict[str, str]:
    facts: dict[str, str] = {}
    field = ""
    for line in text.splitlines():
        start = _SECTION.match(line)
        if start:
            field = SECTIONS[start[1]]
            facts[field] = start[2]
        elif not line.strip():
            field = ""
        elif field:
            facts[field] += " " + line.strip()
    return facts


def plain_math(latex: str) -> str:
    """Rewrite the LaTeX that our docstrings use in ordinary characters.

    >>> plain_math(r"-(1 - p_t)^\\gamma \\log p_t")
    '-(1 - p_t)^γ log p_t'
    """
    text = re.sub(r"\\(?:left|right|big|Big|bigl|bigr|displaystyle)(?![a-zA-Z])", "", latex)
    text = re.sub(r"\\(?:text|operatorname|mathrm|mathbf)\{([^{}]*)\}", r"\1", text)
    before = ""
    while text != before:  # from the inside out
        before = text
        text = re.sub(r"([_^])\{([^{}]*)\}", lambda m: m[1] + (m[2] if len(m[2]) == 1 else f"({m[2]})"), text)
        text = re.sub(r"\\t?frac\{([^{}]*)\}\{([^{}]*)\}", _flatten_fraction, text)
    text = re.sub(r"\\([a-zA-Z]+)", lambda m: _WORDS.get(m[1], m[1]), text)
    text = re.sub(r"\\([{}|])", r"\1", text)
    return " ".join(re.sub(r"\\[,;! ]", " ", text).split())


def _flatten_fraction(found: re.Match[str]) -> str:
    parts = (part if re.fullmatch(r"[^\s+/-]+", part) else f"({part})" for part in found.groups())
    return "/".join(parts)


# What losses and probability functions have in common: a pure function whose signature declares its parameters.


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
    origin: Origin | None = None,
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
        "card": read_card(name, function.__doc__, parameters=typed, reconstruction=reconstruction, origin=origin),
        "together": together,
    }


# What a loss may own besides hyperparameters: learnable parameters, constant tensors, an output layout.

LogProbs = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Context:
    """What the trainer knows about the task; each may be missing.

    Attributes:
        loss: name of the loss, for messages.
        num_classes: number of classes.
        embedding_dim: width of the embeddings.
        class_counts: (classes,) number of training samples of each class.
        class_names: the classes in the order of the target indices.
        generator: the only source of randomness; global random state stays untouched.
    """

    loss: str
    num_classes: int | None
    embedding_dim: int | None
    class_counts: Tensor | None
    generator: torch.Generator
    class_names: tuple[str, ...] | None = None

    def require(self, name: str) -> Any:
        """The named piece of context; ValueError saying how to pass it if it is missing."""
        value = getattr(self, name)
        if value is None:
            raise ValueError(f"{self.loss} needs {name}: pass Criterion({self.loss!r}, ..., {name}=...)")
        return value

    def counts(self) -> Tensor:
        """Training samples of each class, (classes,) float64; ValueError where they are missing or no counts."""
        counts: Tensor = self.require("class_counts").to(torch.float64)
        if counts.dim() != 1 or not (counts >= 0).all() or not counts.sum() > 0:
            raise ValueError(f"{self.loss}: class_counts must be (classes,) counts, got {counts.tolist()}")
        return counts


class LossState(nn.Module):
    """Tensors of a loss, handed to its pure function by name.

    A subclass is built as `Subclass(params, context)` with all hyperparameters (defaults included). It
    registers parameters and buffers and returns them from `forward`; a name that is also a hyperparameter
    replaces that hyperparameter's value. The two other methods need overriding only when the model's outputs
    are not one logit a class (tree nodes); such a state also sets `num_classes`.
    """

    num_classes: int | None = None

    def forward(self) -> dict[str, Tensor]:
        """Tensors for the loss function, by argument name."""
        return {}

    def num_outputs(self, num_classes: int) -> int:
        """How many logits the model must give."""
        return num_classes

    def training_log_probs(self, logits: Tensor, target: Tensor | None, log_probs: LogProbs) -> Tensor:
        """What the loss function gets as `log_probs`; `log_probs` is the chosen probability function."""
        return log_probs(logits, target)

    def class_log_probs(self, logits: Tensor, log_probs: LogProbs) -> Tensor:
        """(batch, classes) log-probabilities to predict and score with."""
        return log_probs(logits, None)


SoftTarget = Literal["no", "by_class", "whole"]
StateFactory = Callable[[Mapping[str, Any], Context], LossState | None]
Event = Callable[[Tensor, Tensor], Tensor]

LossFunction = TypeVar("LossFunction", bound=Callable[..., Any])

SCHEDULE = ("epoch", "epochs")
TENSORS = ("log_probs", "logits", "embeddings", "target", "valid", *SCHEDULE)


@dataclass(frozen=True)
class LossEntry(Entry):
    """A registered loss.

    Attributes:
        takes: what the criterion is called with, "logits" or "embeddings".
        tensors: names of the tensors the function takes.
        state: builds what the loss owns, or None.
        soft_target: "no"; "by_class": the loss is a sum over classes weighted by the target, so class weights
            apply to the terms; "whole": class probabilities are allowed, but not together with class weights.
        events: what to count during training.
        colour: in figures: a name in `lossbench.plots.style.PALETTE`, or `#rrggbb`; "" for the next that is free.
        curve: whether it is one over a single logit, the others being equal; the explorer draws those.
        origin: what kind of thing it is, see `ORIGINS`; None for a user's that does not say.
    """

    takes: Literal["logits", "embeddings"]
    tensors: tuple[str, ...]
    state: StateFactory | None
    soft_target: SoftTarget
    events: dict[str, Event]
    colour: str
    curve: bool
    origin: Origin | None

    @cached_property
    def required(self) -> frozenset[str]:
        """The tensors that the function cannot do without."""
        declared = inspect.signature(self.function).parameters
        return frozenset(name for name in self.tensors if declared[name].default is inspect.Parameter.empty)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickled by name, so that a criterion is one in another process too, whatever its function is."""
        return (_unpickle, (self.name,)) if LOSSES.get(self.name) is self else super().__reduce_ex__(protocol)


LOSSES: Registry[LossEntry] = Registry("loss", function=lambda entry: entry.function)


def _unpickle(name: str) -> LossEntry:
    return LOSSES[name]


@overload
def register(function: LossFunction, /) -> LossFunction: ...


@overload
def register(
    *,
    title: str = "",
    colour: str = "",
    shown: tuple[str, ...] = (),
    state: StateFactory | None = None,
    soft_target: SoftTarget = "no",
    together: Callable[[Mapping[str, Any]], None] | None = None,
    events: Mapping[str, Event] | None = None,
    reconstruction: bool = False,
    curve: bool = True,
    origin: Origin | None = None,
) -> Callable[[LossFunction], LossFunction]: ...


def register(
    function: Any = None,
    /,
    *,
    title: str = "",
    colour: str = "",
    shown: tuple[str, ...] = (),
    state: StateFactory | None = None,
    soft_target: SoftTarget = "no",
    together: Callable[[Mapping[str, Any]], None] | None = None,
    events: Mapping[str, Event] | None = None,
    reconstruction: bool = False,
    curve: bool = True,
    origin: Origin | None = None,
) -> Any:
    """Add a loss to `LOSSES` under the function's own name, with or without arguments; see the module's docstring.

    Raises (when the loss is defined):
        TypeError: the signature does not follow the rules above.
        ValueError: the name is taken.
    """

    def add(function: LossFunction) -> LossFunction:
        name = function.__name__
        if name in LOSSES:
            raise ValueError(f"a loss named {name!r} is registered already")
        tensors, parameters = read_signature(function, TENSORS)
        _check_tensors(name, tensors, state)
        LOSSES[name] = LossEntry(
            **describe_function(
                function,
                parameters,
                title=title,
                shown=shown,
                together=together,
                reconstruction=reconstruction,
                origin=origin,
            ),
            takes="embeddings" if "embeddings" in tensors else "logits",
            tensors=tensors,
            state=state,
            soft_target=soft_target,
            events=dict(events or {}),
            colour=colour,
            curve=curve and not {"embeddings", *SCHEDULE} & set(tensors),
            origin=origin,
        )
        return function

    return add if function is None else add(function)


def _check_tensors(name: str, tensors: tuple[str, ...], state: StateFactory | None) -> None:
    if "target" not in tensors:
        raise TypeError(f"{name} must take target, got {tensors}")
    if "embeddings" in tensors and {"logits", "log_probs"} & set(tensors):
        raise TypeError(f"{name} must take either embeddings or logits, got {tensors}")
    strange = [tensor for tensor in tensors if tensor not in TENSORS]
    if strange and state is None:
        raise TypeError(
            f"{name}: {', '.join(strange)} is no known tensor {TENSORS} and there is no state; "
            "if it is a hyperparameter, give it a default and put a * before it"
        )
