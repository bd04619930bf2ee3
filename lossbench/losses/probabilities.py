"""Probability functions: logits in, log-probabilities out; any loss works on top of any of them.

All take logits (batch, classes) with at least two classes and give finite log-probabilities of the same shape whose
exponentials sum to 1, for finite logits (float32: up to 1e4 in size).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, overload

import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench.losses.catalogue import Entry, choices, describe_function, read_signature, search, slider, symbol
from lossbench.registry import Registry, above, at_least, whole

ProbabilityFunction = TypeVar("ProbabilityFunction", bound=Callable[..., Any])


@dataclass(frozen=True)
class ProbabilityEntry(Entry):
    """A registered `(logits, target=None, *, hyperparameters) -> log-probabilities`.

    Attributes:
        marker: of its points in figures, one of matplotlib's; "" for a dot.
        curve: whether p of one class over p of another rises with their logits and asks no third one; the explorer
            draws those.
    """

    marker: str
    curve: bool

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
    *, title: str = "", marker: str = "", shown: tuple[str, ...] = (), curve: bool = True
) -> Callable[[ProbabilityFunction], ProbabilityFunction]: ...


def register_probability(
    function: Any = None,
    /,
    *,
    title: str = "",
    marker: str = "",
    shown: tuple[str, ...] = (),
    curve: bool = True,
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
        PROBABILITIES[name] = ProbabilityEntry(**common, marker=marker, curve=curve)
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
    Note: f falls before it rises (at order 2, until z = -1), so the largest probability need not belong to the
        largest logit: predict from the log-probabilities. A logit of -inf masks its class, p = 0; one of -1e9 makes it
        the most probable.
    Source: de Brébisson and Vincent 2016, arXiv:1511.05042; paper 000, eq. 3.7.
    Peers: none in torch, timm or kornia.

    Args:
        logits: (batch, classes).
        target: not used.
        order: n, even, 2 to 8.

    Returns: (batch, classes) log-probabilities.
    """

    def polynomial(logits: Tensor) -> Tensor:
        if order == 2:
            return ((logits + 1).square() + 1) / 2  # a sum of squares: at least 1/2, no cancellation
        scores = 1 + logits / order
        for k in range(order - 1, 0, -1):
            scores = 1 + logits / k * scores
        return scores

    return _normalise_even(polynomial, order, logits)


def _normalise_even(scores: Callable[[Tensor], Tensor], order: int, logits: Tensor) -> Tensor:
    """Log-probabilities from scores that grow with a logit's size to the power `order`, whatever its sign.

    A class whose logit is -inf is masked; below where scores overflow (float32 at order 2: -1e19) all logits are alike.
    """
    masked = logits == -torch.inf
    least = -0.5 * torch.finfo(logits.dtype).max ** (1 / order)
    log_scores = scores(logits.masked_fill(masked, 0).clamp(min=least)).log()
    return F.log_softmax(log_scores.masked_fill(masked, -torch.inf), dim=1)


STEPS = 8  # of Newton's method: enough for float64 up to t = 4 and logits of any size


@register_probability(title="tempered softmax", marker="D", shown=("t",), curve=False)
def tempered_softmax(
    logits: Tensor,
    target: Tensor | None = None,
    *,
    t: Annotated[float, at_least(1.0, up_to=4.0), slider(1.0, 4.0, 0.1), search(1.0, 4.0)] = 1.5,
) -> Tensor:
    r"""Softmax with a power in place of the exponential, whose tail is heavy.

    .. math:: p_i = \left[ 1 + (t - 1) (\lambda - z_i) \right]^{-1 / (t - 1)}, \quad \lambda: \sum_i p_i = 1

    Range: (0, 1), sums to 1; unchanged when a constant is added to all logits.
    Gradient: :math:`\partial \log p_i / \partial z_j = p_i^{t-1} (\delta_{ij} - p_j^t / \sum_k p_k^t)`
    Equals: softmax at t 1.
    Note: a class far behind keeps a probability that falls as a power of the distance and not exponentially: a label
        that the model finds absurd costs and pulls less. The largest logit has the largest probability.
        :math:`\lambda` has no closed form: 8 steps of Newton's method on a function that is nearly a straight line.
    Source: Amid et al. 2019, Robust Bi-Tempered Logistic Loss, arXiv:1906.03361; named in paper 001. The default t
        is ours.
    Peers: bi-tempered-loss, the code of the authors; none in torch, timm, optax or Keras.

    Args:
        logits: (batch, classes).
        target: not used.
        t: the temperature, 1 to 4; the higher, the heavier the tail.

    Returns: (batch, classes) log-probabilities.
    """
    if t == 1:
        return F.log_softmax(logits, dim=1)
    power = t - 1
    behind = logits.amax(1, keepdim=True).detach() - logits  # a shift changes nothing, so it needs no gradient
    shift = torch.zeros_like(behind[:, :1])
    for step in range(STEPS):
        # Each step doubles the digits, and the derivatives that are right: the last two make two of them exact.
        distance = behind if step >= STEPS - 2 else behind.detach()
        log_p = -torch.log1p(power * (shift + distance)) / power
        log_sum = log_p.logsumexp(1, keepdim=True)
        slope = (t * (log_p - log_sum)).exp().sum(1, keepdim=True)
        shift = shift - torch.expm1(-power * log_sum) / (power * slope)
    return -torch.log1p(power * (shift + behind)) / power


@register_probability(title="spherical softmax", marker="P", curve=False)
def spherical_softmax(
    logits: Tensor,
    target: Tensor | None = None,
    *,
    epsilon: Annotated[float, above(0.0), slider(0.01, 1.0, 0.01), search(0.001, 1.0, log=True), symbol("ε")] = 0.1,
) -> Tensor:
    r"""Squares of the logits, normalised: their signs do not count.

    .. math:: p_i = \frac{z_i^2 + \epsilon}{\sum_j (z_j^2 + \epsilon)}

    Range: (0, 1), sums to 1; unchanged when all logits are multiplied by a number and :math:`\epsilon` by its square.
    Gradient: :math:`\partial \log p_i / \partial z_j = \frac{2 z_j}{z_j^2 + \epsilon} (\delta_{ij} - p_j)`, whose
        factor is at most :math:`1 / √\epsilon` in size and 0 at z = 0.
    Equals: no other one here.
    Note: the largest probability belongs to the logit farthest from 0, of either sign: predict from the
        log-probabilities. Logits of 0 have no gradient. A logit of -inf masks its class, p = 0; one of -1e9 makes it
        the most probable.
    Source: de Brébisson and Vincent 2016, arXiv:1511.05042, cited in paper 000. The default :math:`\epsilon` is ours.
    Peers: none in torch, timm, optax or Keras.

    Args:
        logits: (batch, classes).
        target: not used.
        epsilon: what keeps the probability of a logit of 0 above 0.

    Returns: (batch, classes) log-probabilities.
    """
    return _normalise_even(lambda logits: logits.square() + epsilon, 2, logits)


def project_on_simplex(logits: Tensor) -> Tensor:
    """The probabilities nearest to the logits (batch, classes): those too far behind are exactly 0."""
    shifted = logits - logits.amax(1, keepdim=True).detach()
    ranked = shifted.sort(dim=1, descending=True).values
    ranks = torch.arange(1, logits.shape[1] + 1, device=logits.device, dtype=logits.dtype)
    thresholds = (ranked.cumsum(1) - 1) / ranks  # of the first 1, 2, 3, ... classes; the largest is the one that holds
    return (shifted - thresholds.amax(1, keepdim=True)).relu()


@register_probability(marker="X", curve=False)
def sparsemax(
    logits: Tensor,
    target: Tensor | None = None,
    *,
    floor: Annotated[float, above(0.0, up_to=0.1), choices(1e-6, 1e-3, 0.01, 0.1), symbol("ε")] = 1e-6,
) -> Tensor:
    r"""The probabilities nearest to the logits: classes that lie far enough behind get none.

    .. math:: p = (1 - \epsilon) \max(0, z - \tau) + \frac{\epsilon}{C}, \quad
        \tau: \sum_j \max(0, z_j - \tau) = 1

    Range: [ε/C, 1), sums to 1; unchanged when a constant is added to all logits.
    Gradient: :math:`\partial p_i / \partial z_j = (1 - \epsilon)(\delta_{ij} - 1 / |S|)` for i and j in the support
        S, the classes with :math:`z > \tau`; else 0.
    Equals: one-hot once a logit leads all others by 1, but for ε.
    Note: of a class outside the support the logarithm would be -∞; a share ε is spread over all classes, so that every
        loss stays finite, and a wrong test image costs at most :math:`\log(C / \epsilon)`. A loss of these
        probabilities has no gradient on a target outside the support: such a sample is never learned. To train, take
        sparsemax_loss, made for it, and this function to predict.
    Source: Martins and Astudillo 2016, From Softmax to Sparsemax, arXiv:1602.02068; ε is ours.
    Peers: optax (projections.projection_simplex).

    Args:
        logits: (batch, classes).
        target: not used.
        floor: ε, the share of all classes alike.

    Returns: (batch, classes) log-probabilities.
    """
    return ((1 - floor) * project_on_simplex(logits) + floor / logits.shape[1]).log()


def log_probs(name: str, logits: Tensor, target: Tensor | None = None, **params: Any) -> Tensor:
    """Log-probabilities (batch, classes) of the named probability function."""
    entry = PROBABILITIES[name]
    result: Tensor = entry.function(logits, target, **entry.complete(params))
    return result
