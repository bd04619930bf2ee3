"""Losses on embeddings where there is little to compare, and input that they refuse."""

from __future__ import annotations

import math

import pytest
import torch
from embedding_cases import EVERY_LOSS, IN_PAIRS, NORMALISED, ON_EMBEDDINGS, build, draw

DEGENERATE = {
    "one class only": (draw()[0], torch.zeros(12, dtype=torch.int64)),
    "all classes distinct": (draw(batch=10)[0], torch.arange(10)),
    "a batch of one": (draw(batch=1)[0], torch.tensor([3])),
    "identical embeddings": (torch.ones(6, 8), torch.tensor([0, 0, 1, 1, 2, 2])),
    "zero embeddings": (torch.zeros(6, 8), torch.tensor([0, 0, 1, 1, 2, 2])),
    "opposite embeddings": (torch.ones(4, 8) * torch.tensor([[1.0], [-1], [1], [-1]]), torch.tensor([0, 0, 1, 1])),
    "huge embeddings": (draw()[0].float() * 1e4, draw()[1]),
    "tiny embeddings": (draw()[0].float() * 1e-30, draw()[1]),
}


@pytest.mark.parametrize("case", DEGENERATE)
@EVERY_LOSS
def test_a_degenerate_batch_has_a_finite_loss_and_gradient(name, params, case):
    embeddings, target = DEGENERATE[case]
    embeddings = embeddings.clone().requires_grad_()
    loss = build(name, reduction="mean", **params)(embeddings, target)
    loss.backward()
    assert loss.isfinite()
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize(("name", "params"), NORMALISED)
def test_normalised_losses_take_embeddings_near_the_limits_of_float32(name, params):
    embeddings, target = draw()
    embeddings = (embeddings * 1e37).float().requires_grad_()
    loss = build(name, **params).eval()(embeddings, target)
    loss.sum().backward()
    torch.testing.assert_close(loss, build(name, **params).eval()((embeddings / 1e37).detach(), target))
    assert embeddings.grad.isfinite().all()


NO_PAIR = [  # loss, hyperparameters, a target without a valid pair
    ("contrastive", {}, [5]),
    ("triplet", {}, [0, 1, 2, 3]),
    ("triplet", {"mining": "semi_hard"}, [0, 0, 0, 0]),
    ("triplet", {"mining": "all"}, [0, 1, 2, 3]),
    ("margin", {}, [0, 0, 0, 0]),
    ("margin", {"sampling": "all"}, [0, 1, 2, 3]),
    ("margin", {"learn_b": True, "nu": 0.5}, [0, 1, 2, 3]),
    ("n_pair", {}, [0, 1, 2, 3]),
]


@pytest.mark.parametrize(("name", "params", "target"), NO_PAIR)
def test_a_batch_without_a_valid_pair_gives_a_counted_zero_with_a_gradient_path(name, params, target):
    criterion = build(name, reduction="mean", **params)
    embeddings = draw(batch=len(target))[0].requires_grad_()
    loss = criterion(embeddings, torch.tensor(target))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(embeddings.grad, torch.zeros_like(embeddings))
    assert all(p.grad is not None and not p.grad.any() for p in criterion.parameters())
    assert criterion.events == {"batches_without_pairs": 1}


@pytest.mark.parametrize(("name", "params"), IN_PAIRS)
def test_a_batch_with_pairs_is_not_counted(name, params):
    criterion = build(name, **params)
    criterion(*draw())
    assert criterion.events == {"batches_without_pairs": 0}


@pytest.mark.parametrize("name", ON_EMBEDDINGS)
def test_it_gives_no_class_probabilities(name):
    with pytest.raises(TypeError, match="works on embeddings"):
        build(name).log_probs(torch.zeros(2, 8))


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("contrastive", {"margin": 0}, "margin must be above 0, got 0"),
        ("triplet", {"margin": -1}, "margin must be above 0, got -1"),
        ("triplet", {"mining": "batchhard"}, "mining 'batchhard'; did you mean 'batch_hard'"),
        ("margin", {"alpha": -0.1}, "alpha must be at least 0"),
        ("margin", {"b": 0}, "b must be above 0"),
        ("margin", {"nu": -1}, "nu must be at least 0"),
        ("margin", {"sampling": "uniform"}, "sampling 'uniform'"),
        ("n_pair", {"norm_weight": -1}, "norm_weight must be at least 0"),
        ("proxy_nca", {"scale": 0}, "scale must be above 0"),
        ("proxy_nca", {"num_classes": None}, "proxy_nca needs num_classes"),
        ("proxy_nca", {"embedding_dim": None}, "proxy_nca needs embedding_dim"),
        ("proxy_nca", {"num_classes": 1}, "num_classes must be at least 2, got 1"),
    ],
)
def test_a_bad_value_is_a_value_error_that_names_it(name, params, message):
    with pytest.raises(ValueError, match=message):
        build(name, **params)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("margin", {"learn_b": 1}, "learn_b must be True or False, got 1"),
        ("proxy_nca", {"include_target": "yes"}, "include_target must be True or False"),
        ("triplet", {"m": 1}, "unknown parameter of triplet 'm'"),
    ],
)
def test_a_bad_type_or_parameter_is_a_type_error_that_names_it(name, params, message):
    with pytest.raises(TypeError, match=message):
        build(name, **params)


@EVERY_LOSS
def test_bad_input_is_refused(name, params):
    criterion = build(name, **params)
    embeddings, target = draw()
    with pytest.raises(ValueError, match=r"embeddings must have shape \(batch, dim\)"):
        criterion(embeddings[0], target)
    with pytest.raises(ValueError, match=r"target must have shape \(12,\), got \(3,\)"):
        criterion(embeddings, target[:3])
    with pytest.raises(TypeError, match="target must be class indices"):
        criterion(embeddings, torch.eye(12, 10))


def test_embeddings_as_wide_as_the_proxies_are_needed():
    with pytest.raises(ValueError, match=r"embeddings must have 8 columns, as the proxies have, got shape \(12, 5\)"):
        build("proxy_nca")(*draw(dim=5))


@EVERY_LOSS
def test_nan_embeddings_are_not_hidden(name, params):
    embeddings, target = draw()
    embeddings[0] = math.nan
    target[:2] = 0
    assert build(name, reduction="sum", **params)(embeddings, target).isnan()
