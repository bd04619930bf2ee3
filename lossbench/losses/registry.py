r"""The catalogue of losses. A loss is one pure function; `register` puts it into `LOSSES` under its own name.

    @register(checks={"gamma": at_least(0.0)}, shown=("gamma",), soft_target="by_class")
    def focal(log_probs: Tensor, target: Tensor, *, gamma: float = 2.0) -> Tensor: ...   # -> (batch,)

**Signature.** Tensors come before `*`, hyperparameters after it with defaults, each with a check from
`lossbench.parameters`. The tensors are told from their names:

- `log_probs` (batch, classes), `logits` (batch, classes), `embeddings` (batch, dim), `target` (batch,) int64
  or, if `soft_target` allows, (batch, classes) floats;
- `valid` (batch,) bool, False where the target is `ignore_index` (such targets arrive as class 0 and their
  values are dropped; only a loss that looks across the batch needs this); write `valid: Tensor | None = None`;
- any other name must be returned by the loss's `state`.

A loss that takes `embeddings` gets them as the criterion's input instead of logits. Inputs are float32 or
wider. The function must work under torch.compile and torch.func.vmap: no Python branch on tensor values, no
change in place of its inputs.

**State.** `state=Proxies` names a `LossState` subclass, or a function, called as `state(params, context)`
with all hyperparameters and a `Context` (num_classes, embedding_dim, class_counts, generator;
`context.require("num_classes")` raises the right error). It may return None when these hyperparameters need
no state. Its `forward()` returns a dict of tensors which reach the function by name; one that is named like a
hyperparameter replaces its value, so `adma(..., *, a: float | Tensor = 0.26)` receives a learnable `a`. Draw
random numbers from `context.generator` only.

**Events.** `events={"batches_without_pairs": lacks_pairs}`: each function gets `(inputs, target)` and returns
a 0-d bool tensor; the criterion counts how often it was true (no gradient, no transfer from the device until
it is read).

**Docstring.** A summary line, a `.. math::` block, and the sections of `lossbench.card.SECTIONS`: Range,
Gradient, Source, Peers always; At p -> 0, At p -> 1 and Equals too for losses on logits. The card is read
from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from lossbench.card import read_card
from lossbench.entry import Entry, check_defaults, describe, read_signature
from lossbench.losses.state import Context, LossState
from lossbench.names import unknown
from lossbench.parameters import Check

SoftTarget = Literal["no", "by_class", "whole"]
StateFactory = Callable[[Mapping[str, Any], Context], LossState | None]
Event = Callable[[Tensor, Tensor], Tensor]

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
    """

    takes: Literal["logits", "embeddings"]
    tensors: tuple[str, ...]
    state: StateFactory | None
    soft_target: SoftTarget
    events: dict[str, Event]


LOSSES: dict[str, LossEntry] = {}


def register(
    *,
    checks: Mapping[str, Check] | None = None,
    shown: tuple[str, ...] = (),
    state: StateFactory | None = None,
    soft_target: SoftTarget = "no",
    together: Callable[[Mapping[str, Any]], None] | None = None,
    events: Mapping[str, Event] | None = None,
    reconstruction: bool = False,
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Add a loss to `LOSSES` under the function's own name; see the module's docstring.

    Raises (when the loss is defined):
        TypeError: the signature, checks or docstring do not follow the rules above.
        ValueError: the name is taken.
    """

    def add(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        name = function.__name__
        if name in LOSSES:
            raise ValueError(f"a loss named {name!r} is registered already")
        tensors, defaults = read_signature(function)
        _check_tensors(name, tensors, state)
        on_embeddings = "embeddings" in tensors
        defaults = check_defaults(name, defaults, checks or {})
        unknown_shown = set(shown) - set(defaults)
        if unknown_shown:
            raise TypeError(f"{name}: shown parameters {sorted(unknown_shown)} are not its hyperparameters")
        required = ("range", "gradient", "source", "peers")
        LOSSES[name] = LossEntry(
            name=name,
            function=function,
            defaults=defaults,
            checks=dict(checks or {}),
            shown=shown,
            reconstruction=reconstruction,
            card=read_card(
                name,
                function.__doc__,
                parameters=describe(defaults),
                reconstruction=reconstruction,
                required=required if on_embeddings else (*required, "near_zero", "near_one", "equals"),
            ),
            together=together,
            takes="embeddings" if on_embeddings else "logits",
            tensors=tensors,
            state=state,
            soft_target=soft_target,
            events=dict(events or {}),
        )
        return function

    return add


def _check_tensors(name: str, tensors: tuple[str, ...], state: StateFactory | None) -> None:
    if "target" not in tensors:
        raise TypeError(f"{name} must take target, got {tensors}")
    if "embeddings" in tensors and {"logits", "log_probs"} & set(tensors):
        raise TypeError(f"{name} must take either embeddings or logits, got {tensors}")
    strange = [tensor for tensor in tensors if tensor not in TENSORS]
    if strange and state is None:
        raise TypeError(f"{name}: {', '.join(strange)} is no known tensor {TENSORS} and there is no state")


def find_loss(name: str) -> LossEntry:
    """Look a loss up by name; ValueError with the nearest names if there is none."""
    if not isinstance(name, str) or name not in LOSSES:
        raise ValueError(unknown("loss", name, LOSSES))
    return LOSSES[name]
