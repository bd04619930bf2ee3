"""The loss over the weights: slices around a trained network, and the straight path between two of them.

A direction holds a tensor for each parameter, by name. Source of the normalisation: Li et al. 2018, arXiv:1712.09913.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Direction = dict[str, Tensor]
Evaluate = Callable[[], Mapping[str, float]]

STEPS = ("alpha", "beta")


def draw_direction(model: nn.Module, generator: torch.Generator) -> Direction:
    """Draw standard normal numbers for every weight.

    Biases and the parameters of normalisation layers, all tensors with less than two dimensions, get zeros: they stay
    where they are, as in the authors' program (its option `biasbn`).

    Args:
        generator: on the CPU, so that the direction is the same on every device.

    Returns: parameter name -> tensor of the parameter's shape, type and device.
    """
    return {
        name: torch.randn(weight.shape, generator=generator).to(weight) if weight.ndim > 1 else torch.zeros_like(weight)
        for name, weight in model.named_parameters()
    }


@torch.no_grad()
def normalise_filters(direction: Direction, model: nn.Module) -> Direction:
    """Give each filter of the direction the length of the same filter in the model.

    A filter is what makes one output: all weights of a neuron, or of an output channel of a convolution. A step of 1
    is then as long as the weights themselves in every filter, and no layer drowns another.

    Returns: a new direction. What is zero stays zero, and a filter of the model that is zero is not moved.
    Source: Li et al. 2018, section 4, d <- d / |d| * |w| with Frobenius norms.
    """
    scaled = {}
    for name, weight in model.named_parameters():
        own, wanted = _filter_lengths(direction[name]), _filter_lengths(weight)
        scaled[name] = direction[name] * torch.where(own > 0, wanted / own, 0)
    return scaled


def draw_normalised(model: nn.Module, seeds: Iterable[int]) -> list[Direction]:
    """Draw a filter-normalised direction for each seed: the same noise for all networks of one architecture."""
    return [normalise_filters(draw_direction(model, torch.Generator().manual_seed(seed)), model) for seed in seeds]


@torch.no_grad()
def interpolate(start: Mapping[str, Tensor], end: Mapping[str, Tensor], t: float) -> dict[str, Tensor]:
    """The state between two states of one architecture: (1 - t) start + t end, exact at both ends.

    Running statistics of batch normalisation are interpolated like weights; counters are those of the nearer end.

    Args:
        start, end: `state_dict()` of two networks.

    Raises:
        ValueError: the networks do not have the same tensors.
    """
    for name in {**start, **end}:
        found = [str(tuple(state[name].shape)) if name in state else "missing" for state in (start, end)]
        if found[0] != found[1]:
            raise ValueError(
                f"{name} is {found[0]} in one network and {found[1]} in the other; "
                "only networks of one architecture and one number of outputs can be interpolated"
            )
    return {
        name: torch.lerp(value, end[name], t) if value.is_floating_point() else (value if t < 0.5 else end[name])
        for name, value in start.items()
    }


@torch.no_grad()
def refresh_statistics(model: nn.Module, batches: Sequence[Tensor]) -> None:
    """Take the mean and variance of every batch normalisation anew: their averages over `batches` of inputs.

    Everything else is in evaluation mode meanwhile, dropout too, since that is how the network will be used.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    modes, momenta = {layer: layer.training for layer in model.modules()}, [layer.momentum for layer in layers]
    model.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum, layer.training = None, True
    try:
        for batch in batches:
            model(batch)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def unchanged(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Lend the model out and put every weight and statistic back bit for bit, also after an exception.

    Yields: a copy of its state.
    """
    state = {name: value.detach().clone() for name, value in model.state_dict().items()}
    try:
        yield state
    finally:
        model.load_state_dict(state)


def measure_slice(
    model: nn.Module,
    directions: Sequence[Direction],
    steps: Sequence[float],
    evaluate: Evaluate,
    refresh: Sequence[Tensor] = (),
) -> pd.DataFrame:
    """Walk from the model along one direction, or over the plane of two, and measure at every place.

    Args:
        directions: one or two.
        steps: how far to go along each, in units of the direction; 0 is the model itself.
        evaluate: measures the model as it then stands, such as `partial(lossbench.training.loop.evaluate, training,
        split)`.
        refresh: batches of inputs to take the statistics of batch normalisation from at every place; empty leaves
            them as they are, as Li et al. do.

    Returns: a row a place: `alpha`, with two directions `beta`, and what `evaluate` gives.
    Raises:
        ValueError: not one or two directions. The model is as before, whatever is raised.
    """
    if len(directions) not in (1, 2):
        raise ValueError(f"a slice has one or two directions, got {len(directions)}")
    rows = []
    with unchanged(model) as state:
        for place in itertools.product(steps, repeat=len(directions)):
            _move(model, state, directions, place)
            if refresh:
                refresh_statistics(model, refresh)
            rows.append({**dict(zip(STEPS, place, strict=False)), **evaluate()})
    return pd.DataFrame(rows)


def measure_path(
    start: nn.Module, end: nn.Module, ts: Sequence[float], evaluate: Evaluate, refresh: Sequence[Tensor] = ()
) -> pd.DataFrame:
    """Walk on the straight line from one network to another and measure at every place.

    Args:
        start: it is moved along the line and put back, so `evaluate` measures this one.
        ts: places, 0 being `start` and 1 `end`.
        evaluate, refresh: as in `measure_slice`; with an empty `refresh` the statistics are interpolated too.

    Returns: a row a place: `t` and what `evaluate` gives.
    Raises:
        ValueError: the networks do not have the same tensors.
    """
    rows = []
    with unchanged(start) as first:
        for t in ts:
            start.load_state_dict(interpolate(first, end.state_dict(), t))
            if refresh:
                refresh_statistics(start, refresh)
            rows.append({"t": t, **evaluate()})
    return pd.DataFrame(rows)


def barrier(path: pd.DataFrame, column: str) -> float:
    """How far `column` rises above the straight line between its values at the ends of a path, at least 0.

    Source: Entezari et al. 2022, arXiv:2110.06296.
    """
    t, height = path["t"].to_numpy(), path[column].to_numpy()
    line = height[0] + (height[-1] - height[0]) * (t - t[0]) / (t[-1] - t[0])
    return float((height - line).max())


def _filter_lengths(weight: Tensor) -> Tensor:
    """The length of each filter (filters, 1, ..., 1); a number of a vector is a filter of its own."""
    rest = tuple(range(1, weight.ndim))
    return torch.linalg.vector_norm(weight, dim=rest, keepdim=True) if rest else weight.abs()


@torch.no_grad()
def _move(
    model: nn.Module, state: Mapping[str, Tensor], directions: Sequence[Direction], place: Sequence[float]
) -> None:
    for name, weight in model.named_parameters():
        weight.copy_(state[name])
        for step, direction in zip(place, directions, strict=True):
            weight.add_(direction[name], alpha=step)
