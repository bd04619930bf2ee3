"""The losses that paper 000 compares: cross-entropy, the two divergences, focal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lossbench.losses.catalogue import Context, LossState, choices, fixed, register, search, slider, symbol
from lossbench.registry import above, any_number, at_least, boolean, one_of, whole

# The few numerical building blocks that the losses share.


def of_target(log_probs: Tensor, target: Tensor) -> Tensor:
    """Log-probabilities that the target speaks about.

    Args:
        log_probs: (batch, classes).
        target: (batch,) class indices, or (batch, classes) class probabilities.

    Returns: (batch,) for indices; for probabilities all of `log_probs`. Close with `over_target`.
    """
    if target.dim() == 2:
        return log_probs
    return log_probs.gather(1, target[:, None]).squeeze(1)


def over_target(values: Tensor, target: Tensor) -> Tensor:
    """Sum of `values`, computed from `of_target`, weighted by the target: (batch,)."""
    if target.dim() == 2:
        return (target * values).sum(1)
    return values


def log1m(log_p: Tensor) -> Tensor:
    """log(1 - p) from log p <= 0: finite value and gradient also where p has rounded to 1.

    There `log_p` itself has lost the true value; 1 - p is taken as half a unit in the last place, with no
    gradient. That is as exact as cross-entropy for a loss that vanishes at p = 1. A loss that grows there needs
    the other classes, see `false_positive`.
    """
    below = log_p.clamp(max=-torch.finfo(log_p.dtype).eps / 2)
    return (-torch.expm1(below)).log()


def widen(tensor: Tensor) -> Tensor:
    """float32 for a tensor in half precision; others as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


@register(title="cross-entropy", colour="ink", soft_target="by_class", origin="likelihood")
def cross_entropy(log_probs: Tensor, target: Tensor) -> Tensor:
    r"""Surprise at the target: how many nats the model needs to name it.

    .. math:: L = -\log p_t

    Use when: nothing speaks against it: it is the reference, and what everything here is measured by.
    Avoid when: many labels are wrong and training is long: it learns them, for no sample is ever given up.
    Range: [0, ∞); for class probabilities q as target, at least their entropy H(q).
    Gradient: :math:`\partial L / \partial z_j = p_j - Y_j` on the softmax logits.
    At p -> 0: grows without bound as -log p; the gradient on the target's logit tends to -1.
    At p -> 1: falls to 0 like 1 - p, and so does the gradient.
    Equals: kl_divergence exactly, for class indices as target; with class probabilities q it is kl_divergence
        + H(q).
    Source: paper 000, eq. 1.11 (printed as a sum from 0; read 1 to n).
    Peers: torch (nn.CrossEntropyLoss), timm (SoftTargetCrossEntropy).

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.

    Returns: (batch,) loss in nats.
    """
    return over_target(-of_target(log_probs, target), target)


@register(title="KL divergence", colour="sky", soft_target="whole", origin="likelihood")
def kl_divergence(log_probs: Tensor, target: Tensor) -> Tensor:
    r"""Extra nats paid for believing p when the target distribution is q.

    .. math:: L = \sum_i q_i \log \frac{q_i}{p_i}

    Use when: targets are class probabilities and the value shall be 0 where they are met.
    Avoid when: targets are class indices and you expect something else than cross_entropy: it is the same function.
    Range: [0, ∞).
    Gradient: :math:`\partial L / \partial z_j = p_j - q_j` on the softmax logits.
    At p -> 0: as cross_entropy.
    At p -> 1: as cross_entropy.
    Equals: cross_entropy exactly, in value and gradient, for class indices as target; with class
        probabilities q it is cross_entropy - H(q), a constant less.
    Note: eq. 3.3 of paper 000 prints a leading minus, whose minimisation would drive the target's probability
        to 0.
    Source: Kullback and Leibler 1951; paper 000, eq. 3.3 with its sign corrected.
    Peers: torch (nn.KLDivLoss; reduction="batchmean" is our mean).

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.

    Returns: (batch,) loss in nats.
    """
    cross = over_target(-of_target(log_probs, target), target)
    if target.dim() == 2:
        return torch.xlogy(target, target).sum(1) + cross
    return cross  # q is one-hot: its entropy is 0


@register(title="JS divergence", colour="vermillion", soft_target="whole", origin="heuristic")
def js_divergence(log_probs: Tensor, target: Tensor, *, sqrt: Annotated[bool, boolean()] = False) -> Tensor:
    r"""Symmetric, bounded divergence between the target distribution q and p.

    .. math:: L = \frac{1}{2} KL(q \| m) + \frac{1}{2} KL(p \| m), \quad m = \frac{p + q}{2}

    Use when: some labels are wrong: what the model gets very wrong stops pulling.
    Avoid when: classes are rare or training is short: the same samples are given up when they are right.
    Range: [0, log 2].
    Gradient: :math:`\partial L / \partial z_j = \frac{p_t}{2} \log \frac{p_t}{1 + p_t} (Y_j - p_j)` for class
        indices.
    At p -> 0: levels off at log 2 and the gradient vanishes: samples the model gets very wrong are given up.
    At p -> 1: falls to 0 like (1 - p) (log 2) / 2.
    Equals: for class indices it depends on :math:`p_t` alone:
        :math:`\log 2 - \frac{1}{2} (1 + p_t) \log(1 + p_t) + \frac{1}{2} p_t \log p_t`.
    Note: not timm's JsdCrossEntropy, which compares predictions for augmented copies of an image.
    Source: Lin 1991; paper 000, eq. 3.4, without the square root that its text mentions (sqrt=True takes it).
    Peers: scipy (distance.jensenshannon, which is the square root).

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.
        sqrt: take the square root, which is a metric; 1e-12 under the root keeps its gradient finite at 0.

    Returns: (batch,) loss in nats (with sqrt: their square root).
    """
    divergence = _js_to_class(log_probs, target) if target.dim() == 1 else _js_to_soft(log_probs, target)
    return (divergence + 1e-12).sqrt() if sqrt else divergence


def _js_to_class(log_probs: Tensor, target: Tensor) -> Tensor:
    log_p = of_target(log_probs, target)
    miss = -torch.expm1(log_p)  # 1 - p without cancellation; every term below is of its size near p = 1
    log_middle = torch.log1p(-miss / 2)  # log((1 + p) / 2)
    p = log_p.exp()
    return (p * log_p - (1 + p) * log_middle + math.log(2) * miss) / 2


def _js_to_soft(log_probs: Tensor, target: Tensor) -> Tensor:
    log_middle = torch.logaddexp(log_probs, target.log()) - math.log(2)
    to_target = torch.xlogy(target, target) - target * log_middle
    to_model = log_probs.exp() * (log_probs - log_middle)
    return (to_target + to_model).sum(1) / 2


@register(colour="green", shown=("gamma",), soft_target="by_class", origin="heuristic")
def focal(
    log_probs: Tensor,
    target: Tensor,
    *,
    gamma: Annotated[float, at_least(0.0), slider(0.0, 5.0, 0.1), search(0.5, 5.0), symbol("γ")] = 2.0,
) -> Tensor:
    r"""Cross-entropy that fades on samples the model already gets right.

    .. math:: L = -(1 - p_t)^\gamma \log p_t

    Use when: easy samples are far more than hard ones, or the network is too sure of itself.
    Avoid when: labels are noisy: it looks hardest at what is wrong.
    Range: [0, ∞).
    Gradient: :math:`\partial L / \partial z_j = -[(1-p_t)^\gamma - \gamma p_t (1-p_t)^{\gamma-1} \log p_t]
        (Y_j - p_j)`
    At p -> 0: as cross_entropy.
    At p -> 1: falls to 0 like :math:`(1-p)^{\gamma+1}`, faster than cross_entropy.
    Equals: cross_entropy at gamma 0; sampling_free at beta 1 in its variants power, scale and inner.
    Note: written as a power of 1 - p it has nan gradients for gamma < 1 once p rounds to 1; here it has not.
    Source: Lin et al. 2017, eq. 4, arXiv:1708.02002, over softmax instead of sigmoid; paper 000, eq. 3.2.
    Peers: kornia (focal_loss), Keras (CategoricalFocalCrossentropy); torchvision's sigmoid_focal_loss is per
        class, another loss.

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.
        gamma: how fast it fades, >= 0.

    Returns: (batch,) loss in nats.
    """
    log_p = of_target(log_probs, target)
    if gamma == 0:
        return over_target(-log_p, target)
    return over_target(-(gamma * log1m(log_p)).exp() * log_p, target)


# Adma (paper 001) and the two baselines its tables compare it with.


class LearnableExponent(LossState):
    """Adma's `a` as a parameter, kept in (0, 0.5] by a sigmoid."""

    def __init__(self, start: float) -> None:
        super().__init__()
        share = min(start / 0.5, 0.999)  # the sigmoid reaches 0.5 only at infinity
        self.raw = nn.Parameter(torch.tensor(math.log(share / (1 - share))))

    @property
    def a(self) -> Tensor:
        return 0.5 * self.raw.sigmoid()

    def forward(self) -> dict[str, Tensor]:
        return {"a": self.a}


def build_exponent(params: Mapping[str, Any], context: Context) -> LossState | None:
    """A learnable exponent if it is asked for."""
    return LearnableExponent(params["a"]) if params["learnable"] else None


@register(title="Adma", colour="purple", shown=("a",), soft_target="by_class", state=build_exponent, origin="heuristic")
def adma(
    log_probs: Tensor,
    target: Tensor,
    *,
    a: Annotated[float | Tensor, above(0.0, up_to=0.5), slider(0.01, 0.5, 0.01), search(0.05, 0.5, log=True)] = 0.2622,
    normalize: Annotated[bool, boolean()] = False,
    learnable: Annotated[bool, boolean(), fixed(False)] = False,
    base: Annotated[float, above(1.0, up_to=100.0), symbol("b")] = math.e,
) -> Tensor:
    r"""Bounded loss whose flexibility is set by an exponent on the target's probability.

    .. math:: L = b - b^{p_t^a}, \quad b = e

    Use when: a bounded loss with one number to tune is wanted, and some labels are wrong.
    Avoid when: the learning rate is fixed for all losses: without normalize its steps have another size.
    Range: [0, e - 1], for another base [0, b - 1]; divided by e a, or b a log b, with normalize.
    Gradient: :math:`\partial L / \partial z_j = -a p_t^a \exp(p_t^a) (Y_j - p_j)` on the softmax logits.
    At p -> 0: levels off at e - 1; the gradient vanishes, but only as slowly as :math:`p^a`.
    At p -> 1: falls to 0 like e a (1 - p).
    Equals: cross_entropy in the limit a -> 0 with normalize (not in the paper).
    Note: other bases than e are the paper's wish; with normalize they change the shape only, mostly at small p.
    Note: the gradient is about e a times that of cross_entropy, so without normalize the choice of a is mixed
        up with the learning rate. A learnable a lowers the loss by itself: towards 0 without normalize,
        towards 0.5 with it.
    Source: Shrivastava 2020, arXiv:2007.12499 (paper 001), eq. 5; the default a is Table 1's for CIFAR-10.
    Peers: none in torch, timm or kornia.

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.
        a: exponent, 0 < a <= 0.5, where the loss is convex in p; a = 0 would make it 0 everywhere.
        normalize: divide by e a, so that the gradient has the scale of cross_entropy's.
        learnable: let `Criterion` learn `a`, starting from the given one (at most 0.4995).
        base: of the power, above 1 and at most 100.

    Returns: (batch,) loss.
    """
    # exact near p = 1, and a finite gradient at p = 0
    growth = math.log(base)
    loss = -torch.expm1(growth * torch.expm1(a * of_target(log_probs, target)))
    return over_target(loss / (a * growth) if normalize else base * loss, target)


@register(title="MSE", colour="blue", soft_target="whole", origin="scoring rule")
def mse(log_probs: Tensor, target: Tensor) -> Tensor:
    r"""Brier score: squared distance between the probabilities and the target distribution, averaged over classes.

    .. math:: L = \frac{1}{C} \sum_k (p_k - Y_k)^2

    Use when: probabilities are judged by their squared error, or some labels are wrong.
    Avoid when: there are many classes: its gradient shrinks with their number and vanishes at confident errors.
    Range: [0, 2 / C], hence smaller the more classes there are.
    Gradient: :math:`\partial L / \partial z_j = \frac{2}{C} p_j [(p_j - Y_j) - \sum_k p_k (p_k - Y_k)]`
    At p -> 0: stays below 2 / C; the gradient vanishes once a wrong class takes all the probability.
    At p -> 1: falls to 0 like :math:`(1 - p)^2`.
    Equals: the Brier score, which is the sum, divided by the number of classes.
    Note: of probabilities; the squared error of the logits themselves is square_loss.
    Source: Keras' convention (mean over classes of softmax outputs), as compared in paper 001.
    Peers: torch (nn.MSELoss on probabilities and one-hot targets), Keras (MeanSquaredError).

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.

    Returns: (batch,) loss.
    """
    probs = log_probs.exp()
    if target.dim() == 2:
        gap = probs - target
    else:
        index = target[:, None]
        gap = probs.scatter_add(1, index, -torch.ones_like(index, dtype=probs.dtype))
    return (gap * gap).mean(1)


@register(colour="orange", origin="surrogate")
def squared_hinge(
    log_probs: Tensor, target: Tensor, logits: Tensor, *, on: Annotated[str, one_of("probs", "logits")] = "probs"
) -> Tensor:
    r"""Squared distance by which each class misses its margin of 1.

    .. math:: L = \frac{1}{C} \sum_k \max(0, 1 - s_k p_k)^2, \quad s_k = 2 Y_k - 1

    Use when: on logits, as a margin loss for each class against the rest.
    Avoid when: on probabilities in earnest: its gradient vanishes at confident errors and its lowest value is not 0.
    Range: on probabilities [(C - 1) / C, (C + 3) / C): 0 is out of reach; on logits [0, ∞).
    Gradient: :math:`\partial L / \partial p_k = -\frac{2}{C} s_k \max(0, 1 - s_k p_k)`; on logits the same
        with z for p.
    At p -> 0: at most (C + 3) / C; the gradient vanishes once a wrong class takes all the probability.
    At p -> 1: falls to (C - 1) / C, the share of the wrong classes, which count 1 each even at probability 0.
    Equals: no other loss here.
    Note: its minimum is not 0 on probabilities, so do not read its height against that of other losses.
    Source: Keras' convention, as compared in paper 001, which does not say what it is applied to; on="logits"
        is the usual hinge.
    Peers: Keras (SquaredHinge); scikit-learn's LinearSVC (on="logits", one class against the rest).

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices.
        logits: (batch, classes).
        on: "probs", or "logits", where the loss ignores the probability function.

    Returns: (batch,) loss.
    """
    scores = logits if on == "logits" else log_probs.exp()
    index = target[:, None]
    signed = scores.scatter(1, index, -scores.gather(1, index))  # -s_k times the score
    miss = (1 + signed).relu()
    return (miss * miss).mean(1)


# The improved sampling-free loss of paper 002, whose text has lost its formulas: a family of reconstructions.


def check_pair(params: Mapping[str, Any]) -> None:
    """What beta and gamma may be depends on the variant."""
    variant, beta, gamma = params["variant"], params["beta"], params["gamma"]
    if variant == "power" and beta < 1:
        raise ValueError(f"sampling_free: beta must be at least 1 with variant='power', got {beta:g}")
    if variant in ("scale", "inner") and beta <= 0:
        raise ValueError(f"sampling_free: beta must be above 0 with variant={variant!r}, got {beta:g}")
    if variant == "star" and gamma <= 0:
        raise ValueError(f"sampling_free: gamma must be above 0 with variant='star', got {gamma:g}")


@register(
    title="sampling-free",
    colour="blue",
    shown=("beta", "gamma"),
    soft_target="by_class",
    together=check_pair,
    reconstruction=True,
    origin="heuristic",
)
def sampling_free(
    log_probs: Tensor,
    target: Tensor,
    *,
    beta: Annotated[float, any_number(), slider(1.0, 16.0, 0.5), search(1.0, 8.0), symbol("β")] = 4.0,
    gamma: Annotated[float, at_least(0.0), slider(0.0, 21.0, 0.5), search(0.5, 10.0), symbol("γ")] = 5.0,
    variant: Annotated[str, one_of("power", "scale", "inner", "star")] = "power",
) -> Tensor:
    r"""Focal loss with a second parameter that blows up the hard samples.

    .. math:: L = (1 - p_t)^\gamma (-\log p_t)^\beta

    Use when: paper 002 is to be repeated: mind that the formula is a reconstruction.
    Avoid when: a loss is wanted whose formula its paper states.
    Range: [0, ∞).
    Gradient: :math:`\partial L / \partial z_j = -[\beta c^{\beta-1} (1-p_t)^\gamma + \gamma p_t
        (1-p_t)^{\gamma-1} c^\beta] (Y_j - p_j)` with :math:`c = -\log p_t` (variant power).
    At p -> 0: grows like :math:`c^\beta` and its gradient like :math:`\beta c^{\beta-1}`: with the defaults
        3127 at p = 0.0001, against 1 for cross_entropy. Clip the gradient norm.
    At p -> 1: falls to 0 like :math:`(1-p)^{\gamma+\beta}`; the gradient is all but 0 from p = 0.9 on.
    Equals: focal at beta 1 (variants power, scale, inner), hence cross_entropy at beta 1 and gamma 0; variant
        star is cross_entropy at gamma 1 and beta 0, and that on soft_margin_softmax at gamma 1 and beta =
        -margin.
    Note: the formulas are missing from the text we have. It fits focal loss with one more parameter; where
        that stands is our reading. The variants are power as above; scale
        :math:`\beta (1-p_t)^\gamma (-\log p_t)`; inner :math:`(1-p_t^\beta)^\gamma (-\log p_t)`; star
        :math:`\log(1 + e^{-(\gamma x + \beta)}) / \gamma` with x the log-odds of the target.
    Source: paper 002 (Computational Intelligence and Neuroscience 2021, 6660961), reconstructed; defaults are
        its optima for CIFAR-10. Variant star is FL* of Lin et al. 2017, appendix A, arXiv:1708.02002.
    Peers: none.

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.
        beta: at least 1 for power, above 0 for scale and inner, any number for star.
        gamma: how fast the loss fades on easy samples, >= 0; above 0 for star.
        variant: "power", "scale", "inner" or "star".

    Returns: (batch,) loss.
    """
    log_p = of_target(log_probs, target)
    if variant == "star":
        loss = -F.logsigmoid(gamma * (log_p - log1m(log_p)) + beta) / gamma
    elif variant == "inner":
        loss = -fade(beta * log_p, gamma) * log_p
    elif variant == "scale":
        loss = -beta * fade(log_p, gamma) * log_p
    else:
        loss = fade(log_p, gamma) * (-log_p) ** beta
    return over_target(loss, target)


def fade(log_p: Tensor, gamma: float) -> Tensor | float:
    """(1 - p)^gamma, with a finite gradient at p = 1 for every gamma."""
    return (gamma * log1m(log_p)).exp() if gamma else 1.0


# False Positive Loss (paper 003): also push down the most probable wrong class.

ALPHAS = ("batch", "dataset", "none")


class ClassAlpha(LossState):
    """Fixed weights of the classes."""

    def __init__(self, alpha: Tensor) -> None:
        super().__init__()
        self.register_buffer("alpha", alpha)

    def forward(self) -> dict[str, Tensor]:
        return {"alpha": self.get_buffer("alpha")}


def build_alpha(params: Mapping[str, Any], context: Context) -> LossState | None:
    """Weights from the training set's class counts, or those given; None where they come from the batch."""
    alpha = params["alpha"]
    if alpha == "dataset":
        counts = context.counts()
        return ClassAlpha((1 - counts / counts.sum()).float())
    return None if alpha in ALPHAS else ClassAlpha(torch.tensor(alpha))


def check_alpha(name: str, value: object) -> str | tuple[float, ...]:
    """A word, or a weight >= 0 for each class."""
    if isinstance(value, str):
        return one_of(*ALPHAS)(name, value)
    numbers = value.tolist() if isinstance(value, Tensor) else value
    if not isinstance(numbers, Sequence) or not all(isinstance(number, (int, float)) for number in numbers):
        raise TypeError(f"{name} must be one of {', '.join(ALPHAS)} or a number for each class, got {value!r}")
    if len(numbers) < 2 or not all(0 <= number < math.inf for number in numbers):
        raise ValueError(f"{name} must hold a finite weight >= 0 for each class, got {value!r}")
    return tuple(float(number) for number in numbers)


@register(title="False Positive Loss", colour="vermillion", state=build_alpha, origin="heuristic")
def false_positive(
    log_probs: Tensor,
    target: Tensor,
    valid: Tensor | None = None,
    *,
    form: Annotated[str, one_of("ce", "mse")] = "ce",
    # The explorer shows one sample at a time, and "batch" depends on the others.
    alpha: Annotated[str | Tensor, check_alpha, choices("dataset", "none"), symbol("α")] = "batch",
    top_k: Annotated[int, whole(1), slider(1, 9, 1), search(1, 5)] = 1,
    aggregate: Annotated[str, one_of("sum", "mean", "median")] = "sum",
    ratio: Annotated[float, at_least(0.0), symbol("r")] = 1.0,
) -> Tensor:
    r"""Cross-entropy plus a penalty on the wrong classes that the model believes in most.

    .. math:: L = -\alpha_t \log p_t - r \sum_{F \in \text{top k wrong}} \alpha_F \log(1 - p_F), \quad r = 1

    Use when: one wrong class takes most of the mistakes and shall be pushed down by itself.
    Avoid when: there are two classes: it is a multiple of cross_entropy there.
    Range: [0, ∞); with form="mse" [0, 2] for alpha up to 1 and top_k 1.
    Gradient: :math:`\partial L / \partial z_j = -\alpha_t (Y_j - p_j) + \alpha_F \frac{p_F}{1 - p_F}
        (\delta_{jF} - p_j)` (form ce, top_k 1); bounded, although the fraction is not.
    At p -> 0: grows without bound, between :math:`\alpha_t` and :math:`\alpha_t + \alpha_F` times
        cross_entropy.
    At p -> 1: falls to 0; F is then the runner-up, and pushing it down adds to the gradient of cross_entropy.
    Equals: with two classes :math:`(\alpha_t + \alpha_F)` times cross_entropy; with alpha="none"
        cross_entropy plus the one-against-rest term of the hardest wrong class.
    Note: F is the most probable wrong class also when the sample is right. With alpha from counts a balanced
        set weighs every class (C - 1) / C, and a batch of one class has no loss at all. The gradient jumps
        where F changes.
    Source: paper 003 (Preprints 84050, 2023), whose formulas have lost their minus signs; alpha is
        :math:`(N - N_i) / N` over the dataset or over the batch, the default here as it needs no counts.
    Peers: none in torch, timm or kornia.

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices.
        valid: (batch,) samples that count in the batch's alpha; None for all.
        form: "ce", or "mse": :math:`\alpha_t (1-p_t)^2 + \alpha_F p_F^2`.
        alpha: "batch", "dataset" (Criterion needs class_counts), "none" for 1, or a weight for each class.
        top_k: how many wrong classes; all of them if there are fewer.
        aggregate: "sum", "mean" or "median" (the lower one) of their terms.
        ratio: weight of the wrong classes' terms, >= 0; 1 in the paper, which wishes for a tuned one.

    Returns: (batch,) loss.

    Raises:
        ValueError: alpha="dataset" outside Criterion, or another number of weights than classes.
    """
    wrong = _top_wrong(log_probs.detach(), target, top_k)
    weight = _class_weight(alpha, log_probs, target, valid)
    log_p, log_wrong = of_target(log_probs, target), log_probs.gather(1, wrong)
    if form == "mse":
        hit, miss = torch.expm1(log_p).square(), log_wrong.exp().square()
    else:
        hit, miss = -log_p, -_log1m_wrong(log_probs, log_p, target, log_wrong, wrong)
    terms, hit = ratio * weight[wrong] * miss, weight[target] * hit
    if aggregate == "median":
        return hit + terms.median(1).values
    return hit + (terms.sum(1) if aggregate == "sum" else terms.mean(1))


def _top_wrong(log_probs: Tensor, target: Tensor, top_k: int) -> Tensor:
    others = log_probs.scatter(1, target[:, None], -math.inf)
    if top_k == 1:
        return others.argmax(1, keepdim=True)
    return others.topk(min(top_k, log_probs.shape[1] - 1), dim=1).indices


def _log1m_wrong(log_probs: Tensor, log_p: Tensor, target: Tensor, log_wrong: Tensor, wrong: Tensor) -> Tensor:
    """log(1 - p_F) for each class in `wrong`, the most probable first.

    Only that one can be near 1, where 1 - p has lost its digits and a clamp would take the gradient from the
    worst errors. For it, 1 - p_F = p_t / p(t | not F), with the condition normalised over the other classes.
    """
    others = log_probs.scatter(1, wrong[:, :1], -math.inf)
    first = log_p - of_target(F.log_softmax(others, dim=1), target)
    return torch.cat([first[:, None], log1m(log_wrong[:, 1:])], dim=1)


def _class_weight(alpha: str | Tensor, log_probs: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
    classes = log_probs.shape[1]
    if isinstance(alpha, Tensor):
        if alpha.shape != (classes,):
            raise ValueError(f"false_positive: alpha must have shape ({classes},), got {tuple(alpha.shape)}")
        return alpha.to(log_probs.dtype)
    if alpha == "dataset":
        raise ValueError("false_positive: alpha='dataset' needs class_counts: pass Criterion(class_counts=...)")
    if alpha == "none":
        return log_probs.new_ones(classes)
    counted = torch.ones_like(target, dtype=log_probs.dtype) if valid is None else valid.to(log_probs.dtype)
    counts = log_probs.new_zeros(classes).scatter_add(0, target, counted)
    return 1 - counts / counts.sum().clamp(min=1)


# The regularised cross-entropy of paper 004: confident predictions are penalised.


@register(colour="orange", shown=("lam",), soft_target="whole", origin="heuristic")
def confidence_penalty(
    log_probs: Tensor,
    target: Tensor,
    *,
    lam: Annotated[float, at_least(0.0), slider(0.0, 1.0, 0.05), search(0.01, 1.0, log=True), symbol("λ")] = 0.1,
) -> Tensor:
    r"""Cross-entropy minus a share of the prediction's entropy.

    .. math:: L = -\log p_t + \lambda \sum_i p_i \log p_i

    Use when: the network is too sure of itself and targets shall stay as they are.
    Avoid when: probabilities must reach 1: it pays for doubt.
    Range: [-λ log C, ∞): it can be negative.
    Gradient: :math:`\partial L / \partial z_j = p_j - Y_j + \lambda p_j (\log p_j + H)`, H the entropy of p.
    At p -> 0: as cross_entropy, plus a bounded term.
    At p -> 1: reaches 0 but not its minimum, which lies at a target probability below 1.
    Equals: cross_entropy at lam 0.
    Source: paper 004 (r-CE), which gives no lam, so 0.1 is our choice; Pereyra et al. 2017, arXiv:1701.06548.
    Peers: none in torch, timm or kornia.

    Args:
        log_probs: (batch, classes) log-probabilities.
        target: (batch,) class indices, or (batch, classes) class probabilities.
        lam: how strongly confidence is penalised, >= 0.

    Returns: (batch,) loss in nats.
    """
    loss = over_target(-of_target(log_probs, target), target)
    if lam == 0:
        return loss
    finite = log_probs.clamp(min=torch.finfo(log_probs.dtype).min)  # a class whose logit is masked with -inf adds 0
    return loss + lam * (log_probs.exp() * finite).sum(1)
