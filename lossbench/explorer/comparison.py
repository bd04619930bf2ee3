"""What is compared and how it is looked at: a line of code, a state of the page, and a preset for each paper."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from lossbench.losses.curves import AXES, Axis, Side, side, write
from lossbench.registry import unknown

Scale = Literal["linear", "log"]
SCALES = ("linear", "log")
MOST_CLASSES = 1000


@dataclass(frozen=True)
class Comparison:
    """Two sides, other losses drawn thinly behind them, and how they are looked at.

    Attributes:
        left, right: the two that are compared.
        others: drawn for reference.
        axis: "p" or "z", what runs along the curves.
        scale: "linear", or "log" for the sizes of losses and slopes on a logarithmic scale.
        curvature: "z" for d²L/dz², which an optimiser sees, or "p" for d²L/dp².
        num_classes: 2 to 1000.
        noise: share of flipped points on the two moons, 0 to 0.5.
        seed: of the points and the first weights of the tiny network.

    Raises:
        ValueError: a value out of range.
        TypeError: a side that is no `side(...)`.
    """

    left: Side = field(default_factory=lambda: side("focal"))
    right: Side = field(default_factory=lambda: side("cross_entropy"))
    others: tuple[Side, ...] = ()
    axis: Axis = "p"
    scale: Scale = "linear"
    curvature: Axis = "z"
    num_classes: int = 10
    noise: float = 0.1
    seed: int = 0

    @property
    def sides(self) -> tuple[Side, ...]:
        """Left, right, and the others."""
        return (self.left, self.right, *self.others)

    def __post_init__(self) -> None:
        for shown in self.sides:
            if not isinstance(shown, Side):
                raise TypeError(f'a side is written side("focal", gamma=2.0), got {shown!r}')
        if self.axis not in AXES:
            raise ValueError(unknown("axis", self.axis, AXES))
        if self.scale not in SCALES:
            raise ValueError(unknown("scale", self.scale, SCALES))
        if self.curvature not in AXES:
            raise ValueError(unknown("curvature", self.curvature, AXES))
        _check_range("num_classes", self.num_classes, 2, MOST_CLASSES, whole=True)
        _check_range("noise", self.noise, 0, 0.5)
        _check_range("seed", self.seed, 0, 2**31, whole=True)

    def code(self, preset: str = "", start: Comparison | None = None) -> str:
        """The call that shows this again, leaving out what `start` (the preset's comparison) says already."""
        parts = [f"left={self.left!r}", f"right={self.right!r}"]
        known = start or Comparison()
        if self.others != known.others:
            parts.append(f"others=[{', '.join(map(repr, self.others))}]")
        plain = ("axis", "scale", "curvature", "num_classes", "noise", "seed")
        parts += [f"{k}={write(getattr(self, k))}" for k in plain if getattr(self, k) != getattr(known, k)]
        if preset:
            parts.insert(0, f'preset="{preset}"')
        return f"explore({', '.join(parts)})"


def _check_range(name: str, value: object, low: float, high: float, *, whole: bool = False) -> None:
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise TypeError(f"{name} must be a {'whole ' if whole else ''}number, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be {low:g} to {high:g}, got {value!r}")


@dataclass(frozen=True)
class Preset:
    """A named starting point.

    Attributes:
        title: for the menu.
        source: paper and figure, table or equation it belongs to.
        look: what to look at, in a sentence.
        comparison: what is drawn.
    """

    title: str
    source: str
    look: str
    comparison: Comparison


def _thesis(title: str, probability: str, look: str) -> Preset:
    def on(loss: str, **params: Any) -> Side:
        return side(loss, probability=probability, **params)

    others = (on("focal", gamma=0.5), on("focal", gamma=2.0))
    comparison = Comparison(on("js_divergence"), on("cross_entropy"), others, axis="z")
    return Preset(title, "paper 000, eqs. 1.11, 3.2 to 3.7, table 4.1", look, comparison)


PRESETS: dict[str, Preset] = {
    "thesis_softmax": _thesis(
        "Paper 000: its losses on softmax",
        "softmax",
        "At very low logits cross-entropy pulls with full strength, Jensen-Shannon with almost none.",
    ),
    "thesis_soft_margin": _thesis(
        "Paper 000: its losses on soft-margin softmax",
        "soft_margin_softmax",
        "The margin moves every curve to the right, so a right answer is still pulled on.",
    ),
    "thesis_taylor": _thesis(
        "Paper 000: its losses on Taylor softmax",
        "taylor_softmax",
        "p has a lowest value, at z = -1: there no loss pulls at all, and left of it the pull has the wrong sign.",
    ),
    "probabilities": Preset(
        "Paper 000: one loss, three probability functions",
        "paper 000, figure 2.5 and eqs. 2.1, 3.5, 3.7",
        "On softmax and Taylor softmax the loss is the same function of p; what differs is how p answers to the logit.",
        Comparison(
            side("cross_entropy", probability="taylor_softmax"),
            side("cross_entropy"),
            (side("cross_entropy", probability="soft_margin_softmax", probability_params={"margin": 1.0}),),
            axis="z",
        ),
    ),
    "adma": Preset(
        "Paper 001: Adma against its rivals",
        "paper 001, figure 1; a = 0.2451 to 0.3118 are the lowest and highest it reports",
        "Adma is bounded: its slope in p is steep near 0, but its pull on the logit dies there.",
        Comparison(
            side("adma", a=0.2451),
            side("cross_entropy"),
            (side("adma", a=0.3118), side("mse"), side("squared_hinge")),
        ),
    ),
    "sampling_free_beta": Preset(
        "Paper 002: sweep of β (reconstruction)",
        "paper 002, grid β = 2, 3, 4, 5, 7, 10 at γ = 3; the formula is our reconstruction",
        "β blows up what is worse than p = 1/e and shrinks what is better; γ alone does only the second.",
        Comparison(
            side("sampling_free", beta=4.0, gamma=3.0),
            side("cross_entropy"),
            tuple(side("sampling_free", beta=beta, gamma=3.0) for beta in (2.0, 7.0, 10.0)),
            scale="log",
        ),
    ),
    "sampling_free_gamma": Preset(
        "Paper 002: sweep of γ (reconstruction)",
        "paper 002, grid γ = 3, 5, 10 at β = 4; the formula is our reconstruction",
        "The larger γ, the earlier a sample counts as done.",
        Comparison(
            side("sampling_free", beta=4.0, gamma=5.0),
            side("cross_entropy"),
            tuple(side("sampling_free", beta=4.0, gamma=gamma) for gamma in (3.0, 10.0)),
            scale="log",
        ),
    ),
    "false_positive": Preset(
        "Paper 003: False Positive Loss",
        "paper 003, eqs. for L_T and L_F, classes of equal size",
        "With the other classes equal, the extra term is small; raise top_k, or go to 2 classes, to see it grow.",
        Comparison(
            side("false_positive"),
            side("cross_entropy"),
            (side("false_positive", form="mse"), side("false_positive", top_k=9)),
        ),
    ),
    "confidence_penalty": Preset(
        "Paper 004: the confidence penalty r-CE",
        "paper 004, r-CE; λ is not given there, 0.1 is our reading",
        "The loss has its minimum before p = 1: beyond it the slope turns and certainty costs.",
        Comparison(
            side("confidence_penalty", lam=0.1),
            side("cross_entropy"),
            (side("confidence_penalty", lam=0.3), side("confidence_penalty", lam=1.0)),
        ),
    ),
    "tree": Preset(
        "Paper 004: cross-entropy on a class tree (reconstruction)",
        "paper 004, h-CE; tree and weights are our reading, CIFAR-10's classes, target airplane",
        "Weights that fall with height make the nodes near the root count less; with weight 1 it is cross-entropy.",
        Comparison(side("hierarchical_cross_entropy", node_weight="exp", alpha=0.5), side("cross_entropy")),
    ),
}
