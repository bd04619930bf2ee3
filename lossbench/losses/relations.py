"""The map of losses: which are equal, sums of one another, or what another tends to. Every edge is a test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lossbench.losses.catalogue import LOSSES, Parameter

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Edge:
    """`loss` with `params` is the sum of `terms`, each a factor times a loss, for class indices as target.

    Attributes:
        gap: 0 where the two are equal; else they become so as a parameter tends to the end of its range where it stands
            here, and value and gradient still differ by at most this much for logits of about 0.2 in size.
        classes: how many.
        context: what else the criterion must know.
    """

    loss: str
    params: Params
    terms: tuple[tuple[float, str, Params], ...]
    gap: float = 0.0
    classes: int = 10
    context: Params = field(default_factory=dict)


def edge(loss: str, params: Params, *terms: tuple[float, str, Params], **options: Any) -> Edge:
    """One row of `EDGES`."""
    return Edge(loss, params, terms, **options)


ONE: tuple[float, str, Params] = (1.0, "cross_entropy", {})
ABSOLUTE_ERROR: tuple[float, str, Params] = (1.0, "generalized_cross_entropy", {"q": 1.0})  # half of it: 1 - p
EDGES = (
    edge("kl_divergence", {}, ONE),
    edge("focal", {"gamma": 0.0}, ONE),
    edge("confidence_penalty", {"lam": 0.0}, ONE),
    edge("label_smoothing", {"epsilon": 0.0}, ONE),
    edge("poly1", {"epsilon": 0.0}, ONE),
    edge("symmetric_cross_entropy", {"alpha": 1.0, "beta": 0.0}, ONE),
    edge("logit_adjusted", {"tau": 0.0}, ONE, context={"class_counts": range(1, 11)}),
    edge("logit_adjusted", {"tau": 1.0}, ONE, context={"class_counts": [5] * 10}),
    edge("hierarchical_cross_entropy", {"mode": "leaf"}, ONE),
    edge("sampling_free", {"variant": "star", "beta": 0.0, "gamma": 1.0}, ONE),
    edge("sampling_free", {"beta": 1.0, "gamma": 2.0}, (1.0, "focal", {"gamma": 2.0})),
    edge("symmetric_cross_entropy", {"alpha": 0.1, "beta": 1.0}, (0.1, "poly1", {"epsilon": 40.0})),
    edge(
        "symmetric_cross_entropy", {"alpha": 0.5, "beta": 1.0}, (0.5, "cross_entropy", {}), (4.0, *ABSOLUTE_ERROR[1:])
    ),
    edge("poly1", {"epsilon": 2.0}, ONE, (2.0, *ABSOLUTE_ERROR[1:])),
    edge("taylor_cross_entropy", {"order": 1}, ABSOLUTE_ERROR),
    edge("active_passive", {"alpha": 0.0, "beta": 0.5}, ABSOLUTE_ERROR),
    edge("generalized_js", {"share": 0.5}, (2.885390081777927, "js_divergence", {})),  # 2 / log 2
    edge("false_positive", {"alpha": "none"}, (2.0, "cross_entropy", {}), classes=2),
    edge("multi_margin", {"aggregate": "max"}, (2.0, "multi_margin", {}), classes=2),
    edge("generalized_cross_entropy", {"q": 1e-5}, ONE, gap=5e-5),
    edge("adma", {"a": 1e-5, "normalize": True}, ONE, gap=1e-4),
    edge("adma", {"a": 1e-3, "normalize": True}, (1.0, "generalized_cross_entropy", {"q": 1e-3}), gap=0.005),
    edge("generalized_js", {"share": 1e-3}, ONE, gap=0.01),
    edge("generalized_js", {"share": 1 - 1e-3}, ABSOLUTE_ERROR, gap=0.12),  # as slowly as 1 / -log(1 - π)
    edge("taylor_cross_entropy", {"order": 64}, ONE, gap=0.03),
    edge("squentropy", {}, ONE, (10 / 9, "square_loss", {"factor": 1e-9}), gap=1e-9),
    edge("bi_tempered", {"t1": 1.0}, ONE),
    edge("bi_tempered", {"t1": 0.0}, (5.0, "mse", {})),  # half the number of classes
    edge("focal_flsd", {"gamma_below": 2.0, "gamma_above": 2.0}, (1.0, "focal", {"gamma": 2.0})),
    edge("asymmetric", {"gamma_rest": 0.0, "epsilon": 0.2}, (1.0, "label_smoothing", {"epsilon": 0.2})),
    edge("asymmetric", {"gamma_target": 2.0, "epsilon": 0.0}, (1.0, "focal", {"gamma": 2.0})),
    edge("two_scale", {"inner": 1.0}, ONE),
    edge("angular_margin", {"angle": 0.0, "scale": 6.0}, (1.0, "proxy_nca", {"include_target": True, "scale": 3.0})),
    edge(
        "ldam",
        {"margin": 0.4, "scale": 9.0},
        (1.0, "angular_margin", {"angle": 0.0, "margin": 0.4, "scale": 9.0}),
        context={"class_counts": [5] * 10},
    ),
)


def describe(entry: Edge) -> str:
    """The condition under which an edge holds, in the symbols of labels, such as "q → 0" or "γ = 0"; "" for always.

    What both losses have alike is left out. Spaces within a part do not break.
    """
    alike = entry.terms[-1][2].items() if len(entry.terms) == 1 else ()
    params = {name: value for name, value in entry.params.items() if (name, value) not in alike}
    parts = [_condition(LOSSES[entry.loss].parameters[name], value, entry.gap) for name, value in params.items()]
    parts += ["classes of one size"] if len(set(entry.context.get("class_counts", (1, 2)))) == 1 else []
    parts += [f"{entry.classes}\N{NO-BREAK SPACE}classes"] if entry.classes != 10 else []
    return ", ".join(parts)


def _condition(parameter: Parameter, value: Any, gap: float) -> str:
    if isinstance(value, bool):
        return parameter.name
    if isinstance(value, str) and parameter.symbol == parameter.name:
        return value
    tends = gap and not isinstance(value, str) and not 0.01 < value < 0.99
    end = ("∞" if value > 1 else round(value)) if tends else value if isinstance(value, str) else f"{value:g}"
    return "\N{NO-BREAK SPACE}".join([parameter.symbol, "→" if tends else "=", str(end)])


def describe_terms(entry: Edge) -> str:
    """What stands before the last of an edge's terms: "2 ×", or "cross-entropy + 2 ×"; "" where it is that term."""
    *before, (factor, _, _) = entry.terms
    sums = [f"{'' if share == 1 else f'{share:g} '}{LOSSES[name].title} +" for share, name, _ in before]
    return " ".join([*sums, *([] if factor == 1 else [f"{factor:.3g}\N{NO-BREAK SPACE}×"])])
