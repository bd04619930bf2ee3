"""Losses on embeddings: hand-worked rows, laws, degenerate batches, sampling, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from embedding_cases import DETERMINISTIC, EVERY_LOSS, NORMALISED, ON_EMBEDDINGS, VARIANTS, build, draw
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

LAWS = settings(deadline=None, derandomize=True, max_examples=40)


def test_every_variant_belongs_to_a_loss_on_embeddings_and_none_is_missing():
    assert {name for name, _ in VARIANTS} == set(ON_EMBEDDINGS)
    assert ON_EMBEDDINGS == ["contrastive", "triplet", "margin", "n_pair", "proxy_nca"]


# Unit vectors at 0°, 60°, 90° and 180°, classes 0, 0, 1, 1. Squared distances 2 - 2 cos(angle):
# 0-60: 1, 0-90: 2, 0-180: 4, 60-90: 2 - √3, 60-180: 3, 90-180: 2.
ROOT_3 = math.sqrt(3)
NEAR = 2 - ROOT_3  # squared distance of 60° and 90°, the only pair of two classes that is closer than 1
ROWS = [  # loss, hyperparameters, mean over the batch by hand
    ("contrastive", {}, (1 + 2) / 2 + (1 - math.sqrt(NEAR)) ** 2),
    # Hardest: 0: 1 - 2 + .2 < 0; 60: 1 - NEAR + .2; 90: 2 - NEAR + .2; 180: 2 - 3 + .2 < 0.
    ("triplet", {}, (1 - NEAR + 2 - NEAR + 0.4) / 2),
    # All triplets above zero: (60, 0, 90), (90, 180, 0): 2 - 2 + .2, (90, 180, 60).
    ("triplet", {"mining": "all"}, (1 - NEAR + 0.2 + 0.2 + 2 - NEAR + 0.2) / 3),
    # With margin 1.5 those with positive < negative <= positive + 1.5: (0, 60, 90): .5 and (180, 90, 60): .5.
    ("triplet", {"mining": "semi_hard", "margin": 1.5}, (0.5 + 0.5) / 2),
    # Two triplets an anchor. Pulls: 0-60: .1 + 1 - 1.2 < 0; 90-180: √2 - 1.1, twice for either anchor.
    # Pushes of those nearer than 1.3: 60-90 in (60, 0, 90) and in (90, 180, 60), 1.3 - √NEAR each.
    (
        "margin",
        {"sampling": "all", "alpha": 0.1},
        (4 * (math.sqrt(2) - 1.1) + 2 * (1.3 - math.sqrt(NEAR))) / 6,
    ),
    # Anchors 0 and 90 with partners 60 and 180: products with their own 1/2 and 0, with the other's -1 and √3/2.
    (
        "n_pair",
        {"norm_weight": 0.5},
        (math.log(1 + math.exp(-1 - 0.5)) + math.log(1 + math.exp(ROOT_3 / 2 - 0))) / 2 + 0.5,
    ),
    # Proxies at 0° and 180°: squared distances to them 0 and 4, 1 and 3, 2 and 2, 4 and 0.
    ("proxy_nca", {}, ((0 - 4) + (1 - 3) + (2 - 2) + (0 - 4)) / 4),
    (
        "proxy_nca",
        {"include_target": True},
        (2 * math.log(1 + math.exp(-4)) + math.log(1 + math.exp(-2)) + math.log(2)) / 4,
    ),
]


def at_angles(*degrees: float) -> Tensor:
    angle = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def test_every_loss_on_embeddings_has_a_row():
    assert {row[0] for row in ROWS} == set(ON_EMBEDDINGS)


@pytest.mark.parametrize(("name", "params", "value"), ROWS)
def test_the_value_is_the_one_worked_by_hand(name, params, value):
    criterion = build(name, dim=2, classes=2, reduction="mean", **params).double()
    if name == "proxy_nca":
        criterion.state.proxies.data = at_angles(0, 180) * 3
    loss = criterion(at_angles(0, 60, 90, 180), torch.tensor([0, 0, 1, 1]))
    assert loss.item() == pytest.approx(value, rel=1e-12)


def test_drawn_negatives_are_the_only_one_where_there_is_one():
    """Class 1 has one sample at 90°, so anchors 0° and 60° must draw it, and it is no anchor itself."""
    loss = build("margin", reduction="mean", alpha=0.1)(at_angles(0, 60, 90), torch.tensor([0, 0, 1]))
    assert loss.item() == pytest.approx(1.3 - math.sqrt(NEAR), rel=1e-12)  # no pull; the other push: √2 > 1.3


@EVERY_LOSS
def test_gradcheck_passes(name, params):
    criterion = build(name, dim=3, classes=3, **params).double().eval()  # eval: the same draws each time
    embeddings, target = draw(batch=7, dim=3, classes=3)
    inputs = (embeddings.requires_grad_(), *criterion.parameters())
    assert torch.autograd.gradcheck(lambda f, *_: criterion(f, target), inputs)


@LAWS
@given(st.sampled_from(VARIANTS), st.integers(1, 64), st.integers(2, 100), st.integers(0, 99))
def test_one_finite_value_a_sample_and_the_reductions_belong_together(variant, batch, classes, seed):
    name, params = variant
    embeddings, target = draw(batch, classes=classes, seed=seed)
    none, mean, total = (
        build(name, classes=classes, reduction=reduction, **params).eval()(embeddings, target)
        for reduction in ("none", "mean", "sum")
    )
    assert none.shape == (batch,)
    assert none.isfinite().all()
    torch.testing.assert_close(mean, none.mean())
    torch.testing.assert_close(total, none.sum())


@LAWS
@given(st.sampled_from(DETERMINISTIC), st.integers(2, 40), st.integers(0, 99))
def test_the_order_of_the_batch_does_not_change_the_mean(variant, batch, seed):
    name, params = variant
    embeddings, target = draw(batch, seed=seed)
    if name == "n_pair":  # takes the first two of each class, so give it no more
        target = torch.arange(batch) % ((batch + 1) // 2)
    order = torch.randperm(batch, generator=torch.Generator().manual_seed(seed))
    criterion = build(name, classes=batch + 4, reduction="mean", **params)
    expected = criterion(embeddings, target)
    if name == "n_pair":  # anchor and partner may swap; a symmetric batch leaves the value
        embeddings = embeddings[target]
        expected = criterion(embeddings, target)
    torch.testing.assert_close(criterion(embeddings[order], target[order]), expected)


@LAWS
@given(st.sampled_from(NORMALISED), st.floats(-30, 30), st.integers(0, 99))
def test_normalised_embeddings_may_have_any_scale(variant, exponent, seed):
    name, params = variant
    embeddings, target = draw(seed=seed)
    criterion = build(name, **params).eval()
    torch.testing.assert_close(criterion(embeddings * 10**exponent, target), criterion(embeddings, target))


@LAWS
@given(st.sampled_from(VARIANTS), st.permutations(range(4)), st.integers(0, 99))
def test_the_names_of_the_classes_do_not_matter(variant, names, seed):
    name, params = variant
    embeddings, target = draw(seed=seed)
    criterion, renamed = (build(name, classes=4, **params).eval() for _ in range(2))
    if name == "proxy_nca":
        renamed.state.proxies.data[list(names)] = criterion.state.proxies.data
    torch.testing.assert_close(renamed(embeddings, torch.tensor(names)[target]), criterion(embeddings, target))


@EVERY_LOSS
def test_ignored_samples_might_as_well_not_be_there(name, params):
    if params.get("sampling", "") == "distance_weighted" or params.get("learn_b"):
        params = {**params, "sampling": "all"}
    embeddings, target = draw()
    ignored = target.clone()
    ignored[[1, 5, 6]] = -100
    kept = ignored >= 0
    criterion = build(name, reduction="mean", **params)
    torch.testing.assert_close(criterion(embeddings, ignored), criterion(embeddings[kept], target[kept]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@EVERY_LOSS
def test_half_precision_is_computed_in_float32(name, params, dtype):
    embeddings, target = draw()
    criterion = build(name, **params).eval()
    narrow = embeddings.to(dtype)
    assert criterion(narrow, target).dtype == torch.float32
    assert torch.equal(criterion(narrow, target), criterion(narrow.float(), target))


@EVERY_LOSS
def test_inputs_are_left_as_they_came(name, params):
    embeddings, target = draw()
    before = embeddings.clone()
    build(name, **params)(embeddings, target)
    assert torch.equal(embeddings, before)


@pytest.mark.parametrize(("name", "params"), DETERMINISTIC)
def test_it_compiles_and_maps(name, params):
    criterion = build(name, **params)
    embeddings, target = draw()
    expected = criterion(embeddings, target)
    mapped = torch.func.vmap(criterion)(torch.stack([embeddings, -2 * embeddings]), torch.stack([target] * 2))
    torch.testing.assert_close(mapped[0], expected)
    torch.testing.assert_close(mapped[1], criterion(-2 * embeddings, target))
    if name == "margin":
        return  # its state makes a generator, which a graph cannot hold; see the next test
    torch._dynamo.reset()
    compiled = torch.compile(criterion, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(embeddings, target), expected)


def test_drawing_by_distance_compiles_around_the_draw():
    embeddings, target = draw()
    torch._dynamo.reset()
    criterion = build("margin").eval()
    expected = criterion(embeddings, target)
    torch.testing.assert_close(torch.compile(criterion, backend="aot_eager")(embeddings, target), expected)


def test_the_learned_boundary_moves_under_its_optimizer_and_nu_lowers_it():
    embeddings, target = draw()
    criterion = build("margin", reduction="mean", learn_b=True, sampling="all", nu=0.25)
    fixed = build("margin", reduction="mean", sampling="all")
    loss = criterion(embeddings, target)
    torch.testing.assert_close(loss, fixed(embeddings, target) + 0.25 * 1.2)
    loss.backward()
    (b,) = criterion.parameters()
    distance = torch.cdist(*[F.normalize(embeddings)] * 2)
    same = (target[:, None] == target) & ~torch.eye(12, dtype=torch.bool)
    other = target[:, None] != target
    pulls = same * (distance > 1.0) * other.sum(1, keepdim=True)
    pushes = other * (distance < 1.4) * same.sum(1, keepdim=True)
    expected = (pushes.sum() - pulls.sum()) / (pushes.sum() + pulls.sum()) + 0.25
    assert b.grad.item() == pytest.approx(expected.item(), rel=1e-6)


def test_proxies_come_from_the_seed_alone_and_leave_global_randomness_untouched():
    before = torch.get_rng_state()
    first, again, other = (build("proxy_nca", seed=seed).state.proxies for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (10, 8)
    assert torch.equal(torch.get_rng_state(), before)


@EVERY_LOSS
def test_minimised_it_leaves_each_nearest_neighbour_in_the_own_class(name, params):
    criterion = build(name, dim=4, classes=3, reduction="mean", **params)
    embeddings = draw(dim=4)[0].float().requires_grad_()
    target = torch.arange(12) % 3
    optimizer = torch.optim.Adam([embeddings, *criterion.parameters()], lr=0.1)
    for step in range(100):
        # n_pair looks at the first two of each class, so the batch comes in a new order each time
        order = torch.randperm(12, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        criterion(embeddings[order], target[order]).backward()
        optimizer.step()
    units = F.normalize(embeddings.detach())
    nearest = (torch.cdist(units, units) + 9 * torch.eye(12)).argmin(1)
    assert torch.equal(target[nearest], target)
