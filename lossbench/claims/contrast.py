"""What is compared: runs selected by columns, weighed against each other within data set, setting and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lossbench.claims.scales import SCALES, Scale

Where = Mapping[str, Any]
PLAIN: Where = {"label_noise": 0.0, "imbalance": 1.0}  # held unless a contrast says otherwise


@dataclass(frozen=True)
class Term:
    """One side of a contrast.

    Args:
        weight: what it counts with; the weights of a contrast sum to 0, but for a lone term.
        where: column -> value; `loss_params` -> parameters that must be among the run's.
        says: how the side is called.
    """

    weight: float
    where: Where
    says: str


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of scores, formed for every data set, model and seed.

    Runs are compared only with runs that share every field of their config but the ones that `terms` name, and the
    losses or probability functions that the terms leave open must be the same on all sides.

    Args:
        says: how the sum is called, such as `cross_entropy minus mse`.
        terms: what is summed.
        metric: a key of `SCALES`.
        where: what all sides share; `PLAIN` holds besides.
        datasets: families of data sets that it is about; empty for any.
        null: the value it is compared with, in the scale's unit.
    """

    says: str
    terms: tuple[Term, ...]
    metric: str = "test_accuracy"
    where: Where = field(default_factory=dict)
    datasets: tuple[str, ...] = ()
    null: float = 0.0

    @property
    def scale(self) -> Scale:
        """The score's name, unit and margin."""
        return SCALES[self.metric]

    @property
    def named(self) -> set[str]:
        """Columns that the terms differ in."""
        return {column for term in self.terms for column in term.where}


def loss(name: str, **params: Any) -> Where:
    """Select the runs of a loss, and among them those with these parameters."""
    return {"loss": name, **({"loss_params": params} if params else {})}


def minus(
    first: Where, second: Where, metric: str = "test_accuracy", datasets: Sequence[str] = (), where: Where | None = None
) -> Contrast:
    """The score of `first` minus that of `second`; `where` holds for both."""
    sides = (Term(1.0, first, _call(first)), Term(-1.0, second, _call(second)))
    return Contrast(f"{sides[0].says} minus {sides[1].says}", sides, metric, where or {}, tuple(datasets))


def lead_over(
    first: Where,
    rivals: Sequence[Where],
    metric: str = "test_accuracy",
    datasets: Sequence[str] = (),
    where: Where | None = None,
) -> tuple[Contrast, ...]:
    """By how much `first` is better than each rival, whichever way the score is better."""
    forward = SCALES[metric].more_is_better
    pairs = [(first, rival) if forward else (rival, first) for rival in rivals]
    return tuple(minus(*pair, metric, datasets, where) for pair in pairs)


def double_minus(
    first: Where, second: Where, changed: Where, base: Where, metric: str, where: Where | None = None
) -> Contrast:
    """(first minus second) under `changed`, minus the same under `base`."""
    terms = tuple(
        Term(sign * side, {**which, **point}, f"{_call(which)} at {_call(point)}")
        for side, point in ((1.0, changed), (-1.0, base))
        for sign, which in ((1.0, first), (-1.0, second))
    )
    says = f"({_call(first)} minus {_call(second)}) at {_call(changed)} minus the same at {_call(base)}"
    return Contrast(says, terms, metric, where or {})


def alone(which: Where, metric: str, datasets: Sequence[str] = (), null: float = 0.0) -> Contrast:
    """A score by itself, compared with `null`."""
    says = f"{SCALES[metric].words} of {_call(which)}"
    return Contrast(says, (Term(1.0, which, _call(which)),), metric, {}, tuple(datasets), null)


def _call(where: Where) -> str:
    name = " ".join(str(value) for key, value in where.items() if key in ("loss", "probability"))
    shown = {key: value for key, value in where.get("loss_params", {}).items() if value is not False}
    params = " ".join(f"{key}={text(value)}" for key, value in shown.items())
    rest = " ".join(
        f"{key}={text(value)}" for key, value in where.items() if key not in ("loss", "probability", "loss_params")
    )
    return " ".join(part for part in (name, params, rest) if part) or "any run"


def text(value: Any) -> str:
    """A value as tables of runs write parameters."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def selected(columns: Mapping[str, np.ndarray], where: Where) -> np.ndarray:
    """Which rows of a table, given as arrays by column, satisfy `where`."""
    chosen = np.ones(len(next(iter(columns.values()))), dtype=bool)
    for name, wanted in where.items():
        if name == "loss_params":
            pairs = {f"{key}={text(value)}" for key, value in wanted.items()}
            known = {found: pairs <= set(found.split(";")) for found in set(columns[name])}
            chosen &= np.array([known[found] for found in columns[name]], dtype=bool)
        elif isinstance(wanted, float):
            chosen &= np.isclose(columns[name].astype(float), wanted)
        else:
            chosen &= columns[name] == wanted
    return chosen
