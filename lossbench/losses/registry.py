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

**Docstring.** A summary line, a `.. math::` block, and the sections of `lossbench.card.SECTIONS` make the card. A loss
of lossbench's own has them all, as a test demands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, overload

from torch import Tensor

from lossbench.card import read_card
from lossbench.entry import Entry, describe, read_signature
from lossbench.losses.state import Context, LossState
from lossbench.registry import Registry

SoftTarget = Literal["no", "by_class", "whole"]
StateFactory = Callable[[Mapping[str, Any], Context], LossState | None]
Event = Callable[[Tensor, Tensor], Tensor]

LossFunction = TypeVar("LossFunction", bound=Callable[..., Any])

TENSORS = ("log_probs", "logits", "embeddings", "target", "valid")


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
    """

    takes: Literal["logits", "embeddings"]
    tensors: tuple[str, ...]
    state: StateFactory | None
    soft_target: SoftTarget
    events: dict[str, Event]
    colour: str

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
        if strangers := set(shown) - set(parameters):
            raise TypeError(f"{name}: shown parameters {sorted(strangers)} are not its hyperparameters")
        defaults = {key: parameter.default for key, parameter in parameters.items()}
        LOSSES[name] = LossEntry(
            name=name,
            title=title or name.replace("_", " "),
            function=function,
            parameters=parameters,
            shown=shown,
            reconstruction=reconstruction,
            card=read_card(name, function.__doc__, parameters=describe(defaults), reconstruction=reconstruction),
            together=together,
            takes="embeddings" if "embeddings" in tensors else "logits",
            tensors=tensors,
            state=state,
            soft_target=soft_target,
            events=dict(events or {}),
            colour=colour,
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
