"""Slices through the space of weights: against closed forms, and the model is always given back as it was."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from lossbench import MODELS
from lossbench.training.landscape import (
    barrier,
    draw_direction,
    draw_normalised,
    interpolate,
    measure_path,
    measure_slice,
    normalise_filters,
    refresh_statistics,
)

STEPS = np.linspace(-1, 1, 5)
IMAGES = torch.rand(40, 1, 12, 12, generator=torch.Generator().manual_seed(5))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def model():
    """A network with convolutions, batch normalisation and biases, its statistics those of some images."""
    torch.manual_seed(0)
    model = MODELS["small_cnn"](4)
    model(IMAGES)
    return model.eval()


@pytest.fixture
def relu():
    """Two layers with a ReLU between them, both with biases."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double()


def copies(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


def direction_of(model):
    return normalise_filters(draw_direction(model, generator()), model)


def heights(model, inputs, refresh=(), direction=None):
    """How far the outputs lie from zero along a slice: any function of the outputs would do."""
    direction = direction_of(model) if direction is None else direction
    table = measure_slice(model, [direction], STEPS, lambda: {"h": model(inputs).square().mean().item()}, refresh)
    return table["h"].to_numpy()


def quadratic(minimum, hessian):
    """A model of two weights at `minimum`, and (w - minimum)' H (w - minimum) as what is measured."""
    model = nn.Linear(2, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([minimum]))
    centre, matrix = torch.tensor(minimum, dtype=torch.float64), torch.tensor(hessian, dtype=torch.float64)

    def height():
        away = model.weight[0].detach() - centre
        return {"height": (away @ matrix @ away).item()}

    return model, height


def test_the_slice_of_a_quadratic_function_is_its_parabola():
    model, height = quadratic([3.0, 4.0], [[1.0, 0.5], [0.5, 9.0]])
    table = measure_slice(model, [{"weight": torch.tensor([[1.0, 2.0]])}], STEPS, height)
    assert list(table.columns) == ["alpha", "height"]
    np.testing.assert_allclose(table["height"], (1 + 4 * 0.5 + 4 * 9) * STEPS**2, atol=1e-12)


def test_the_plane_through_a_quadratic_function_has_both_curvatures_and_the_mixed_one():
    model, height = quadratic([3.0, 4.0], [[1.0, 0.5], [0.5, 9.0]])
    directions = [{"weight": torch.tensor([row])} for row in ([2.0, 0.0], [0.0, 1.0])]
    table = measure_slice(model, directions, STEPS, height)
    assert len(table) == len(STEPS) ** 2
    a, b = table["alpha"], table["beta"]
    np.testing.assert_allclose(table["height"], 4 * a**2 + 2 * a * b + 9 * b**2, atol=1e-12)


@pytest.mark.parametrize("name", ["small_cnn", "small_cnn_cosine", "convnet_maxout"])
def test_every_filter_of_a_direction_is_as_long_as_that_of_the_weights_and_points_where_it_was_drawn(name):
    model = MODELS[name](4)
    raw = draw_direction(model, generator())
    for key, along in normalise_filters(raw, model).items():
        weight = model.get_parameter(key).detach()
        assert along.shape == weight.shape
        if weight.ndim > 1:
            rows, drawn, wanted = (part.flatten(1) for part in (along, raw[key], weight))
            torch.testing.assert_close(rows.norm(dim=1), wanted.norm(dim=1))
            torch.testing.assert_close(torch.cosine_similarity(rows, drawn), torch.ones(len(rows)))
        else:
            assert not along.any(), "biases and normalisation layers stay where they are"


def test_a_filter_of_zeros_is_not_moved_and_a_direction_of_zeros_stays_one(relu):
    with torch.no_grad():
        relu[0].weight[2] = 0
    found = direction_of(relu)["0.weight"]
    assert found.isfinite().all()
    assert not found[2].any()
    assert found[3].any()


def test_equal_generators_draw_equal_directions_and_others_draw_others(model):
    assert equal(draw_direction(model, generator(3)), draw_direction(model, generator(3)))
    assert not equal(draw_direction(model, generator(3)), draw_direction(model, generator(4)))


def test_each_seed_has_a_direction_and_networks_share_its_noise(model):
    first, second = draw_normalised(model, [0, 7])
    assert equal(first, direction_of(model))
    assert not equal(first, second)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(3)
    for name, along in draw_normalised(other, [7])[0].items():
        torch.testing.assert_close(along, 3 * second[name])


def test_drawing_a_direction_leaves_global_random_state_alone(model):
    before = torch.get_rng_state()
    draw_direction(model, generator())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("refresh", [(), (IMAGES,)], ids=["as they are", "refreshed"])
def test_the_model_comes_back_bit_for_bit_from_a_slice_and_from_a_path(model, refresh):
    before, other = copies(model), MODELS["small_cnn"](4)
    measure_slice(model, [direction_of(model)], STEPS, dict, refresh)
    measure_path(model, other, [0.3, 1.0], dict, refresh)
    assert equal(model.state_dict(), before)


def test_the_model_comes_back_bit_for_bit_after_an_exception(model):
    before = copies(model)

    def fail():
        assert not equal(model.state_dict(), before)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_slice(model, [direction_of(model)], STEPS, fail, [IMAGES])
    assert equal(model.state_dict(), before)
    with pytest.raises(KeyboardInterrupt):
        measure_path(model, MODELS["small_cnn"](4), [0.5], fail, [IMAGES])
    assert equal(model.state_dict(), before)


def test_a_step_of_zero_measures_the_model_itself(model):
    def height():
        return {"h": model(IMAGES).logits.square().mean().item()}

    assert measure_slice(model, [direction_of(model)], [0.0], height)["h"].tolist() == [height()["h"]]


def test_rescaling_the_layers_of_a_relu_network_changes_the_plain_slice_but_not_the_normalised_one(relu):
    inputs = torch.randn(20, 6, dtype=torch.float64, generator=generator(1))
    twin = copy.deepcopy(relu)
    with torch.no_grad():
        for tensor, factor in ((twin[0].weight, 8), (twin[0].bias, 8), (twin[2].weight, 1 / 8)):
            tensor.mul_(factor)
    assert torch.equal(relu(inputs), twin(inputs)), "the same function"
    np.testing.assert_allclose(heights(twin, inputs), heights(relu, inputs), rtol=1e-12)
    raw = draw_direction(relu, generator())
    apart = heights(twin, inputs, direction=raw) / heights(relu, inputs, direction=raw)
    assert apart[0] > 2
    assert apart[-1] > 2


def test_behind_batch_normalisation_each_filter_may_be_rescaled_by_its_own_factor():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 5, 3, bias=False), nn.BatchNorm2d(5, eps=1e-12), nn.ReLU(), nn.Flatten())
    model = model.append(nn.Linear(500, 2)).double()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin[0].weight.mul_(torch.tensor([0.1, 0.5, 1.0, 3.0, 20.0], dtype=torch.float64)[:, None, None, None])
    batches = [IMAGES.double()]
    for each in (model, twin):
        refresh_statistics(each.eval(), batches)
    found = [heights(each, batches[0], batches) for each in (model, twin)]
    np.testing.assert_allclose(*found, rtol=1e-6)


@pytest.mark.parametrize(("t", "place"), [(0.0, 0), (1.0, 1)])
def test_the_ends_of_an_interpolation_are_the_two_networks_bit_for_bit(model, t, place):
    other = copy.deepcopy(model)
    other.train()(2 * IMAGES)
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator(2)))
    states = model.state_dict(), other.state_dict()
    assert not equal(*states)
    assert equal(interpolate(*states, t), states[place])


def test_half_way_is_the_mean(relu):
    other = copy.deepcopy(relu)
    with torch.no_grad():
        other[0].weight.mul_(3)
    found = interpolate(relu.state_dict(), other.state_dict(), 0.5)
    torch.testing.assert_close(found["0.weight"], 2 * relu[0].weight.detach())


@pytest.mark.parametrize("other", [MODELS["small_cnn"](5), MODELS["small_cnn_cosine"](4)], ids=["outputs", "head"])
def test_networks_that_differ_in_form_are_refused_before_anything_moves(model, other):
    before = copies(model)
    with pytest.raises(ValueError, match=r"head\.\w+ is .* in one network and .* in the other; only networks of one"):
        measure_path(model, other, [0.0, 1.0], dict)
    assert equal(model.state_dict(), before)


def test_a_path_measures_each_end_as_it_is(model):
    other = MODELS["small_cnn"](4).eval()
    other.train()(IMAGES)
    other.eval()

    def height(network=model):
        return {"h": network(IMAGES).logits.square().mean().item()}

    table = measure_path(model, other, [0.0, 0.5, 1.0], height)
    assert table["t"].tolist() == [0.0, 0.5, 1.0]
    assert table["h"].tolist()[::2] == [height()["h"], height(other)["h"]]


def test_statistics_are_refreshed_as_torch_does_and_nothing_else_changes(model):
    reference = copy.deepcopy(model)
    torch.optim.swa_utils.update_bn(IMAGES.split(10), reference)
    expected = reference.state_dict()
    model.body[2].momentum = 0.3
    modes = [module.training for module in model.modules()]
    refresh_statistics(model, IMAGES.split(10))
    assert equal(model.state_dict(), expected)
    assert model.body[2].momentum == 0.3
    assert [module.training for module in model.modules()] == modes


def test_statistics_are_refreshed_without_dropout_and_in_frozen_layers_too():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm2d(1))
    refresh_statistics(model, [IMAGES])
    torch.testing.assert_close(model[1].running_mean, IMAGES.mean()[None])
    classifier = MODELS["small_cnn"](4)
    classifier.set_trainable("head")
    refresh_statistics(classifier, [IMAGES])
    assert classifier.body[2].running_mean.any()


def test_the_barrier_of_a_double_well_is_its_height_in_the_middle():
    t = np.linspace(0, 1, 21)
    well = ((2 * t - 1) ** 2 - 1) ** 2
    assert barrier(pd.DataFrame({"t": t, "h": well}), "h") == pytest.approx(1)
    assert barrier(pd.DataFrame({"t": t, "h": well + 7 - 3 * t}), "h") == pytest.approx(1), "above the tilted line"
    assert barrier(pd.DataFrame({"t": t, "h": 5 - 2 * t}), "h") == pytest.approx(0)
    assert barrier(pd.DataFrame({"t": t, "h": -well}), "h") == 0, "a valley is no barrier"


@pytest.mark.parametrize("count", [0, 3])
def test_a_slice_has_one_or_two_directions(relu, count):
    with pytest.raises(ValueError, match=f"one or two directions, got {count}"):
        measure_slice(relu, [direction_of(relu)] * count, STEPS, dict)
