"""Probability functions: logits in, log-probabilities out; any loss works on top of any of them.

All take logits (batch, classes) with at least two classes and give finite log-probabilities of the same shape
whose
exponentials sum to 1, for finite logits (float32: up to 1e4 in size).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, overload

import torch.nn.functional as F
from torch import Tensor

from lossbench.losses.catalogue import Entry, choices, describe_function, read_signature, search, slider, symbol
from lossbench.registry import Registry, at_least, whole

ProbabilityFunction = TypeVar("ProbabilityFunction", bound=Callable[..., Any])


@dataclass(frozen=True)
class ProbabilityEntry(Entry):
    """A registered `(logits, target=None, *, hyperparameters) -> log-probabilities`.

    Attributes:
        marker: of its points in figures, one of matplotlib's; "" for a dot.
    """

    marker: str

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickled by name, so that a criterion is one in another process too."""
        return (_unpickle, (self.name,)) if PROBABILITIES.get(self.name) is self else super().__reduce_ex__(protocol)


PROBABILITIES: Registry[ProbabilityEntry] = Registry("probability function", function=lambda entry: entry.function)


def _unpickle(name: str) -> ProbabilityEntry:
    return PROBABILITIES[name]


@overload
def register_probability(function: ProbabilityFunction, /) -> ProbabilityFunction: ...


@overload
def register_probability(
    *, title: str = "", marker: str = "", shown: tuple[str, ...] = ()
) -> Callable[[ProbabilityFunction], ProbabilityFunction]: ...


def register_probability(
    function: Any = None, /, *, title: str = "", marker: str = "", shown: tuple[str, ...] = ()
) -> Any:
    """Add a probability function to `PROBABILITIES` under its own name, as `lossbench.losses.register` adds a loss."""

    def add(function: ProbabilityFunction) -> ProbabilityFunction:
        name = function.__name__
        tensors, parameters = read_signature(function, ("logits", "target"))
        if tensors != ("logits", "target"):
            raise TypeError(f"{name} must take (logits, target=None, *, ...), got {tensors}")
        if name in PROBABILITIES:
            raise ValueError(f"a probability function named {name!r} is registered already")
        common = describe_function(function, parameters, title=title, shown=shown)
        PROBABILITIES[name] = ProbabilityEntry(**common, marker=marker)
        return function

    return add if function is None else add(function)


@register_probability(marker="o")
def softmax(logits: Tensor, target: Tensor | None = None) -> Tensor:
    r"""Exponentials of the logits, normalised.

    .. math:: p_i = \frac{e^{z_i}}{\sum_j e^{z_j}}

    Range: (0, 1), sums to 1; unchanged when a constant is added to all logits.
    Gradient: :math:`\partial \log p_i / \partial z_j = \delta_{ij} - p_j`
    Equals: soft_margin_softmax at margin 0.
    Source: Bridle 1990; paper 000, eq. 2.1.
    Peers: torch (log_softmax).

    Args:
        logits: (batch, classes).
        target: not used.

    Returns: (batch, classes) log-probabilities.
    """
    return F.log_softmax(logits, dim=1)


@register_probability(title="soft-margin softmax", marker="s", shown=("margin",))
def soft_margin_softmax(
    logits: Tensor,
    target: Tensor | None = None,
    *,
    margin: Annotated[float, at_least(0.0), slider(0.0, 3.0, 0.1), search(0.1, 3.0, log=True), symbol("m")] = 0.3,
) -> Tensor:
    r"""Softmax that takes a margin off the target's logit, in training only.

    .. math:: p_t = \frac{e^{z_t - m}}{e^{z_t - m} + \sum_{j \ne t} e^{z_j}}

    Range: (0, 1), sums to 1 over all classes.
    Gradient: :math:`\partial \log p_i / \partial z_j = \delta_{ij} - p_j` with these shifted p.
    Equals: softmax at margin 0, and always when no target is given (at test time). Cross-entropy on it is
        :math:`\log(1 + e^{m - x})`, x the softmax log-odds of the target; hence
        :math:`CE \le CE_m \le CE + m`.
    Note: the loss on training data includes the margin, the loss on test data does not; do not compare the
        two.
    Source: Liang et al. 2017, Soft-Margin Softmax for Deep Classification; paper 000, eq. 3.5, whose sum
        index :math:`j \ne x_i` we read as :math:`j \ne i`.
    Peers: none that we know under this name; pytorch-metric-learning's CosFaceLoss takes the same margin off
        cosines.

    Args:
        logits: (batch, classes).
        target: (batch,) class indices or (batch, classes) class probabilities; None at test time.
        margin: m >= 0, in units of the logits.

    Returns: (batch, classes) log-probabilities.
    """
    if target is not None and margin != 0:
        if target.dim() == 2:
            logits = logits - margin * target
        else:
            index = target[:, None]
            logits = logits.scatter(1, index, logits.gather(1, index) - margin)
    return F.log_softmax(logits, dim=1)


def _even_order(name: str, value: object) -> int:
    order = whole(2)(name, value)
    if order % 2:
        raise ValueError(f"{name} must be even (an odd Taylor polynomial can be negative), got {value!r}")
    if order > 8:
        raise ValueError(f"{name} must be at most 8 (higher ones overflow float32), got {value!r}")
    return order


@register_probability(title="Taylor softmax", marker="^")
def taylor_softmax(
    logits: Tensor, target: Tensor | None = None, *, order: Annotated[int, _even_order, choices(2, 4, 6, 8)] = 2
) -> Tensor:
    r"""Softmax with the exponential replaced by its Taylor polynomial.

    .. math:: p_i = \frac{f(z_i)}{\sum_j f(z_j)}, \quad f(z) = \sum_{k=0}^{n} \frac{z^k}{k!}

    Range: (0, 1), sums to 1 for every even order; not unchanged when a constant is added to all logits.
    Gradient: :math:`\partial \log p_i / \partial z_j = r(z_j) (\delta_{ij} - p_j)` with :math:`r = f' / f`;
        at order 2 r is at most 1 in size and 0 at z = -1.
    Equals: softmax in the limit of high order.
    Note: f falls before it rises (at order 2, until z = -1), so the largest probability need not belong to
        the
        largest logit: predict from the log-probabilities.
    Source: de Brébisson and Vincent 2016, arXiv:1511.05042; paper 000, eq. 3.7.
    Peers: none in torch, timm or kornia.

    Args:
        logits: (batch, classes).
        target: not used.
        order: n, even, 2 to 8.

    Returns: (batch, classes) log-probabilities.
    """
    if order == 2:
        scores = ((logits + 1).square() + 1) / 2  # a sum of squares: at least 1/2, no cancellation
    else:
        scores = 1 + logits / order
        for k in range(order - 1, 0, -1):
            scores = 1 + logits / k * scores
    return F.log_softmax(scores.log(), dim=1)


def log_probs(name: str, logits: Tensor, target: Tensor | None = None, **params: Any) -> Tensor:
    """Log-probabilities (batch, classes) of the named probability function."""
    entry = PROBABILITIES[name]
    result: Tensor = entry.function(logits, target, **entry.complete(params))
    return result
