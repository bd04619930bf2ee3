"""What the page is told before it draws: the losses and their controls, presets, its state, and tables."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from lossbench.explorer.comparison import PRESETS, Comparison
from lossbench.explorer.measure import (
    ACROSS,
    COLUMNS,
    ROWS,
    UP,
    Surface,
    make_moons,
    pull_on_batch,
    train_many_on_moons,
    train_on_moons,
)
from lossbench.explorer.tables import combinations, encode, fixed_code, is_smooth, key_of, make_table
from lossbench.losses import LOSSES
from lossbench.losses.catalogue import Choices, Entry, Slider
from lossbench.losses.curves import Side, drawable_losses, drawable_probabilities, side, write
from lossbench.losses.probabilities import PROBABILITIES, ProbabilityEntry
from lossbench.registry import remember

SETTINGS = ("axis", "scale", "curvature", "num_classes", "noise", "seed")
CLASSES, NOISES, SEED = (2, 10, 100), (0.1, 0.2, 0.4), 0  # what a page without a kernel knows
SHARES = (0.0, 0.5, 1.0)  # of a slider, where it has a network
TAUGHT = (  # the losses of the papers, which a page without a kernel carries unless told otherwise
    *("cross_entropy", "kl_divergence", "js_divergence", "focal", "adma", "mse", "squared_hinge", "sampling_free"),
    *("false_positive", "confidence_penalty", "hierarchical_cross_entropy"),
)


def state_of(comparison: Comparison, preset: str = "") -> dict[str, Any]:
    """A comparison as the page keeps it."""
    return {
        "preset": preset,
        "left": write_side(comparison.left),
        "right": write_side(comparison.right),
        "others": [write_side(one) for one in comparison.others[:5]],
        **{name: getattr(comparison, name) for name in SETTINGS},
    }


def comparison_of(state: Mapping[str, Any]) -> Comparison:
    """What a state of the page stands for. Raises: ValueError when parameters do not go together."""
    others = tuple(read_side(one) for one in state["others"])
    settings = {name: state[name] for name in SETTINGS}
    return Comparison(read_side(state["left"]), read_side(state["right"]), others, **settings)


def write_side(shown: Side) -> dict[str, Any]:
    """A side as the page keeps it: what has a control, and the rest as words."""
    entry = LOSSES[shown.loss]
    controls = entry.controls
    return {
        "loss": shown.loss,
        "params": {name: shown.loss_params[name] for name in controls},
        "fixed": _fixed(entry, shown.loss_params),
        "probability": shown.probability,
        "probability_params": dict(shown.probability_params),
    }


def read_side(kept: Mapping[str, Any]) -> Side:
    """The side that the page means. Raises: ValueError when its parameters do not go together."""
    return side(
        kept["loss"],
        probability=kept["probability"],
        probability_params=_typed(PROBABILITIES[kept["probability"]], kept["probability_params"]),
        **_typed(LOSSES[kept["loss"]], kept["params"]),
        **kept["fixed"]["values"],
    )


def surface(shown: Side, noise: float, seed: int) -> dict[str, Any]:
    """A network trained on the moons, and the points: belief in class 1 from 0 to 255, or a message."""
    return _write_surface(train_on_moons(shown, noise=noise, seed=seed)) | {"points": _points(noise, seed)}


def opening(comparison: Comparison) -> dict[str, Any]:
    """What a widget begins with: the tables of its own sides; it asks the kernel for others."""
    sides = [(one, comparison.num_classes) for one in comparison.sides]
    return _common(drawable_losses()) | _tables(sides, opening=True) | {"points": {}, "surfaces": []}


@remember(4)
def everything(losses: tuple[str, ...] = TAUGHT) -> dict[str, Any]:
    """What a page without a kernel needs: the tables of these losses, every probability function and menu; networks."""
    sides = [
        (side(loss, probability=probability, probability_params=order, **menus), num_classes)
        for loss in losses
        for menus in combinations(LOSSES[loss])
        for probability, entry in _probabilities().items()
        for order in combinations(entry)
        for num_classes in CLASSES
    ]
    surfaces = [
        _write_surface(trained)
        | {"side": {"loss": shown.loss, "params": write_side(shown)["params"]}, "noise": noise, "seed": SEED}
        for (shown, noise), trained in train_many_on_moons(_network_sides(losses), NOISES, SEED).items()
    ]
    points = {points_key(noise, SEED): _points(noise, SEED) for noise in NOISES}
    known = {"classes": CLASSES, "noises": NOISES, "seeds": [SEED], "points": points, "surfaces": surfaces}
    return _common(losses) | _tables(sides) | known


def _probabilities() -> dict[str, ProbabilityEntry]:
    return {name: PROBABILITIES[name] for name in drawable_probabilities()}


def _common(losses: Sequence[str]) -> dict[str, Any]:
    pull = pull_on_batch(side("cross_entropy"))
    presets = [
        {
            "name": name,
            "title": one.title,
            "look": one.look,
            "source": one.source,
            "state": state_of(one.comparison, name),
        }
        for name, one in PRESETS.items()
        if {shown.loss for shown in one.comparison.sides} <= set(losses)
    ]
    return {
        "losses": {name: _describe(LOSSES[name]) for name in losses},
        "probabilities": {name: _describe(entry) for name, entry in _probabilities().items()},
        "presets": presets,
        "start": state_of(Comparison()),
        "batch": {"p": [round(p, 6) for p in pull.p.tolist()], "wrong": pull.wrong.tolist()},
        "plane": {"across": ACROSS, "up": UP, "columns": COLUMNS, "rows": ROWS},
    }


def _describe(entry: Entry) -> dict[str, Any]:
    starts, controls = entry.starts, entry.controls
    return {
        "order": list(entry.defaults),
        "controls": {name: _control(control) for name, control in controls.items()},
        "starts": {name: starts[name] for name in controls},
        "defaults": {name: entry.defaults[name] for name in controls},
        "shown": entry.shown,
        "symbols": {name: entry.parameters[name].symbol for name in controls if entry.parameters[name].symbol != name},
        "fixed": _fixed(entry, starts),
        "reconstruction": entry.reconstruction,
    }


def _control(control: Slider | Choices) -> dict[str, Any]:
    if isinstance(control, Choices):
        return {"kind": "menu", "values": control.values}
    return {
        "kind": "slider",
        "low": control.low,
        "high": control.high,
        "step": control.step,
        "whole": not is_smooth(control),
    }


def _fixed(entry: Entry, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters without a control: their values where these are no defaults, and as code and label write them."""
    starts, controls = entry.starts, entry.controls
    rest = {name: value for name, value in params.items() if name not in controls}
    shown = [name for name, value in rest.items() if name in entry.shown or value != starts[name]]
    labels = entry.label({name: value for name, value in rest.items() if value != entry.defaults[name]}).split(" ")
    named = {word.partition("=")[0]: word for word in labels if "=" in word}
    symbols = {name: entry.parameters[name].symbol for name in rest}
    return {
        "key": fixed_code(entry, params),
        "values": {name: value for name, value in rest.items() if value != starts[name]},
        "code": {name: f"{name}={write(rest[name])}" for name in shown},
        "label": {name: named[symbol] for name, symbol in symbols.items() if symbol in named},
    }


def _typed(entry: Entry, params: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers as the entry has them: the page knows no difference between 2 and 2.0."""
    floats = {name for name, value in entry.defaults.items() if isinstance(value, float)}
    return {name: float(value) if name in floats else value for name, value in params.items()}


def _tables(sides: Iterable[tuple[Side, int]], *, opening: bool = False) -> dict[str, Any]:
    """Tables by the names that the page looks for; equal ones are sent once.

    Every menu of a probability function is drawn; those of the batch follow when it is the `opening` view.
    """
    tables: dict[str, list[int]] = {}
    distinct: dict[str, int] = {}
    for shown, num_classes in sides:
        plain = shown.probability_params == PROBABILITIES[shown.probability].defaults
        for kind in ("loss", "probability", "batch"):
            key = key_of(kind, shown, num_classes)
            if key not in tables and (plain or kind != "batch" or opening):
                text = json.dumps(make_table(kind, shown, num_classes))
                tables[key] = [distinct.setdefault(text, len(distinct))]
    return {"tables": tables, "distinct": [json.loads(text) for text in distinct]}


def _network_sides(losses: Sequence[str]) -> list[Side]:
    """A few places of every slider, with every menu where it starts, on softmax."""
    sides = []
    for loss in losses:
        entry = LOSSES[loss]
        moving = {name: one for name, one in entry.controls.items() if isinstance(one, Slider) and is_smooth(one)}
        stops = [
            sorted({_stop(one, share) for share in SHARES} | {entry.defaults[name]}) for name, one in moving.items()
        ]
        for row in itertools.product(*stops):
            params: dict[str, Any] = dict(zip(moving, row, strict=True))
            sides.append(side(loss, **params))
    return sides


def _stop(control: Slider, share: float) -> float:
    steps = round(share * (control.high - control.low) / control.step)
    return round(min(control.low + control.step * steps, control.high), 10)


def _write_surface(trained: Surface) -> dict[str, Any]:
    if trained.p is None:
        message = "No network: the moons have two classes, which this loss cannot have."
        return {"values": None, "accuracy": None, "message": message}
    return {"values": encode(np.round(255 * trained.p).astype(np.uint8)), "accuracy": trained.accuracy, "message": ""}


def points_key(noise: float, seed: int) -> str:
    """The name under which the page looks for points; it writes 0, not 0.0."""
    return json.dumps([int(noise) if noise == int(noise) else noise, seed], separators=(",", ":"))


@lru_cache(maxsize=16)
def _points(noise: float, seed: int) -> dict[str, Any]:
    moons = make_moons(noise, seed)
    points = [[round(x, 3) for x in row] for row in moons.points.tolist()]
    return {"points": points, "target": moons.target.tolist(), "truth": moons.truth.tolist()}
