"""Losses on embeddings: hand-worked rows, laws, degenerate batches, sampling, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import (
    DETERMINISTIC,
    EMBEDDING_VARIANTS,
    EVERY_LOSS,
    IN_PAIRS,
    NORMALISED,
    ON_EMBEDDINGS,
    PROXIED,
    build,
    draw,
)
from scipy import stats
from torch import Tensor

from lossbench.losses import Criterion
from lossbench.losses.embedding import (
    all_triplets,
    distance_log_weights,
    draw_negatives,
    hardest_pairs,
    negative_probabilities,
    pair_masks,
    pairwise_distances,
    unit_vectors,
)

LAWS = settings(deadline=None, derandomize=True, max_examples=40)


def test_every_variant_belongs_to_a_loss_on_embeddings_and_none_is_missing():
    assert {name for name, _ in EMBEDDING_VARIANTS} == set(ON_EMBEDDINGS)


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
    # Cosines to the proxy of the class and to the other: 1 and -1, 1/2 and -1/2, 0 and 0, 1 and -1. Turned by 30°
    # the own ones are those of 30°, 90°, 120° and 30°.
    (
        "angular_margin",
        {"angle": math.pi / 6, "scale": 1.0},
        (2 * math.log(1 + math.exp(-1 - ROOT_3 / 2)) + math.log(1 + math.exp(-0.5)) + math.log(1 + math.exp(0.5))) / 4,
    ),
    (
        "angular_margin",
        {"angle": 0.0, "margin": 0.25, "scale": 2.0},
        (2 * math.log(1 + math.exp(-3.5)) + math.log(1 + math.exp(-1.5)) + math.log(1 + math.exp(0.5))) / 4,
    ),
    # Products of 0 with the others: 1/2, 0, -1; of 60: 1/2, √3/2, -1/2; of 90: 0, √3/2, 0; of 180: -1, -1/2, 0.
    (
        "supervised_contrastive",
        {"tau": 1.0},
        (
            math.log(math.exp(0.5) + 1 + math.exp(-1))
            - 0.5
            + math.log(math.exp(0.5) + math.exp(ROOT_3 / 2) + math.exp(-0.5))
            - 0.5
            + math.log(2 + math.exp(ROOT_3 / 2))
            + math.log(math.exp(-1) + math.exp(-0.5) + 1)
        )
        / 4,
    ),
    # Of 1 and 16 samples: margins 1/2 and 1/4.
    (
        "ldam",
        {"scale": 1.0, "class_counts": (1, 16)},
        sum(math.log(1 + math.exp(x)) for x in (-2 + 0.5, -1 + 0.5, 0 + 0.25, -2 + 0.25)) / 4,
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
    if name in PROXIED:
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
@given(st.sampled_from(EMBEDDING_VARIANTS), st.integers(1, 64), st.integers(2, 100), st.integers(0, 99))
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
@given(st.sampled_from(EMBEDDING_VARIANTS), st.permutations(range(4)), st.integers(0, 99))
def test_the_names_of_the_classes_do_not_matter(variant, names, seed):
    name, params = variant
    embeddings, target = draw(seed=seed)
    counts = [2, 5, 1, 9]
    of_new = [counts[list(names).index(place)] for place in range(4)]
    criterion, renamed = (build(name, classes=4, class_counts=n, **params).eval() for n in (counts, of_new))
    if name in PROXIED:
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


@EVERY_LOSS
def test_half_precision_is_computed_in_float32_and_inputs_are_left_as_they_came(name, params):
    embeddings, target = draw()
    criterion = build(name, **params).eval()
    for dtype in (torch.float16, torch.bfloat16):
        narrow = embeddings.to(dtype)
        before = narrow.clone()
        assert criterion(narrow, target).dtype == torch.float32
        assert torch.equal(criterion(narrow, target), criterion(narrow.float(), target))
        assert torch.equal(narrow, before)


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


# Losses on embeddings where there is little to compare, and input that they refuse.

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


@EVERY_LOSS
def test_a_degenerate_batch_has_a_finite_loss_and_gradient(name, params):
    for case, (given_embeddings, target) in DEGENERATE.items():
        embeddings = given_embeddings.clone().requires_grad_()
        loss = build(name, reduction="mean", **params)(embeddings, target)
        loss.backward()
        assert loss.isfinite(), case
        assert embeddings.grad.isfinite().all(), case


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
    ("supervised_contrastive", {}, [0, 1, 2, 3]),
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
        ("angular_margin", {"angle": 2}, "angle must be at least 0 and at most 1.5, got 2"),
        ("supervised_contrastive", {"tau": 0}, "tau must be above 0, got 0"),
        ("ldam", {"class_counts": None}, "ldam needs class_counts"),
        ("ldam", {"class_counts": [0, 0]}, r"class_counts must be \(classes,\) counts"),
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


@pytest.mark.parametrize("name", sorted(PROXIED))
def test_embeddings_as_wide_as_the_proxies_are_needed(name):
    with pytest.raises(ValueError, match=r"embeddings must have 8 columns, as the proxies have, got shape \(12, 5\)"):
        build(name)(*draw(dim=5))


@EVERY_LOSS
def test_nan_embeddings_are_not_hidden(name, params):
    embeddings, target = draw()
    embeddings[0] = math.nan
    target[:2] = 0
    assert build(name, reduction="sum", **params)(embeddings, target).isnan()


# Which triplets and negatives are taken: distance-weighted sampling against its formula, and its randomness.


def draw_mining(batch: int = 24, dim: int = 4, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(batch, dim, generator=generator, dtype=torch.float64)
    return embeddings, torch.randint(classes, (batch,), generator=generator)


@pytest.mark.parametrize("dim", [2, 3, 8, 64])
@pytest.mark.parametrize("distance", [0.5, 0.9, 1.3])
def test_the_weight_is_one_over_the_density_of_the_distance(dim, distance):
    density = distance ** (dim - 2) * (1 - distance**2 / 4) ** ((dim - 3) / 2)
    weight = distance_log_weights(torch.tensor(distance, dtype=torch.float64), dim).exp()
    assert weight.item() == pytest.approx(1 / density, rel=1e-12)


def test_near_negatives_count_as_half_away_and_far_ones_not_at_all():
    weight = distance_log_weights(torch.tensor([0.0, 0.1, 0.5, 1.41, 2.0]), 8)
    assert weight[0] == weight[1] == weight[2]
    assert weight[3:].tolist() == [-math.inf, -math.inf]


@pytest.mark.parametrize("seed", range(3))
def test_the_probabilities_are_those_of_pytorch_metric_learning(seed, monkeypatch):
    miners = pytest.importorskip("pytorch_metric_learning.miners.distance_weighted_miner")
    seen = {}

    def keep(target, *, weights, **_):
        seen["weights"] = weights
        empty = torch.zeros(0, dtype=torch.int64)
        return empty, empty, empty

    monkeypatch.setattr(miners.lmu, "get_random_triplet_indices", keep)
    embeddings, target = draw_mining(seed=seed)
    miners.DistanceWeightedMiner()(embeddings, target)
    _, other = pair_masks(target)
    distance = pairwise_distances(unit_vectors(embeddings))
    in_reach = (other & (distance < 1.4)).any(1)
    assert in_reach.sum() > 20
    ours = negative_probabilities(distance, other, 4)
    torch.testing.assert_close(ours[in_reach], seen["weights"][in_reach])


def test_the_draws_follow_the_probabilities():
    embeddings, target = draw_mining(batch=12)
    distance = pairwise_distances(unit_vectors(embeddings))
    _, other = pair_masks(target)
    expected = negative_probabilities(distance, other, 4)
    generator = torch.Generator().manual_seed(7)
    counts = torch.zeros(12, 12)
    for _ in range(400):
        drawn = draw_negatives(distance, other, 4, generator)
        counts += F.one_hot(drawn, 12).sum(1)
    assert not counts[~other].any()
    for row, chance in zip(counts, expected, strict=True):
        likely = chance > 1e-3
        rest = max(400 * 12 - row[likely].sum().item(), 0)
        observed = np.array([*row[likely].tolist(), rest])
        hoped = np.array([*chance[likely].tolist(), 1 - chance[likely].sum().item()]) * 400 * 12
        keep = hoped > 1  # a chi-square needs cells that are not empty
        assert stats.chisquare(observed[keep], hoped[keep] * observed[keep].sum() / hoped[keep].sum()).pvalue > 1e-3


def test_distances_of_drawn_negatives_are_spread_evenly():
    """The point of the method (Wu et al. 2017, section 4): uniform distances, where random negatives crowd at 1.41."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(20_000, 4, generator=generator, dtype=torch.float64)
    distance = pairwise_distances(unit_vectors(points)[:1], unit_vectors(points)[1:])
    chance = negative_probabilities(distance, torch.ones_like(distance, dtype=torch.bool), 4)[0].numpy()
    weighted, _ = np.histogram(distance[0], bins=np.linspace(0.5, 1.4, 7), weights=chance)
    unweighted, _ = np.histogram(distance[0], bins=np.linspace(0.5, 1.4, 7))
    assert weighted.max() / weighted.min() < 1.25
    assert unweighted.max() / unweighted.min() > 3


def test_an_anchor_with_all_negatives_out_of_reach_draws_evenly_from_them():
    distance = torch.tensor([[0.0, 0.3, 1.9, 1.5], [0.3, 0.0, 1.2, 1.5], [1.9, 1.2, 0, 0.1], [1.5, 1.5, 0.1, 0]])
    _, other = pair_masks(torch.tensor([0, 0, 1, 1]))
    chance = negative_probabilities(distance, other, 8)
    assert chance[0].tolist() == [0, 0, 0.5, 0.5]
    assert chance[1].tolist() == [0, 0, 1, 0]


def test_in_many_dimensions_the_weights_neither_overflow_nor_vanish():
    embeddings, target = draw_mining(dim=2048)
    _, other = pair_masks(target)
    distance = pairwise_distances(unit_vectors(embeddings.float()))
    closer = distance * 0.4  # some below and some above half
    for spread in (distance, closer):
        chance = negative_probabilities(spread, other, 2048)
        torch.testing.assert_close(chance.sum(1), torch.ones(24))
        assert not chance[~other].any()


def test_the_hardest_are_the_farthest_of_the_class_and_the_nearest_of_the_others():
    embeddings, target = draw_mining(classes=5, batch=9)
    squared = pairwise_distances(embeddings).square()
    same, other = pair_masks(target)
    positive, negative, has_both = hardest_pairs(squared, same, other)
    for anchor in range(9):
        mine = [squared[anchor, j].item() for j in range(9) if j != anchor and target[j] == target[anchor]]
        others = [squared[anchor, j].item() for j in range(9) if target[j] != target[anchor]]
        assert has_both[anchor].item() == bool(mine and others)
        if mine and others:
            assert (positive[anchor].item(), negative[anchor].item()) == (max(mine), min(others))


def test_all_triplets_are_counted_by_hand():
    same, other = pair_masks(torch.tensor([0, 0, 0, 1, 1, 2]))
    assert all_triplets(same, other).sum() == 3 * 2 * 3 + 2 * 1 * 4


def losses_of(seed: int, steps: int = 4) -> list[float]:
    criterion = Criterion("margin", seed=seed)
    embeddings, target = draw_mining(dim=8)
    return [criterion(embeddings, target).item() for _ in range(steps)]


def test_the_same_seed_draws_the_same_and_every_step_draws_anew():
    assert losses_of(3) == losses_of(3)
    assert len(set(losses_of(3))) == 4
    assert not set(losses_of(3)) & set(losses_of(4))  # also not at a neighbouring step


def test_drawing_leaves_global_randomness_untouched():
    before = torch.get_rng_state()
    losses_of(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_checkpoint_resumes_the_same_draws():
    embeddings, target = draw_mining(dim=8)
    first, second = (Criterion("margin", seed=5, learn_b=True) for _ in range(2))
    for _ in range(3):
        first(embeddings, target)
    second.load_state_dict(first.state_dict())
    assert first(embeddings, target).item() == second(embeddings, target).item()


def test_in_eval_mode_the_draws_are_fixed_and_do_not_disturb_training():
    embeddings, target = draw_mining(dim=8)
    plain, looked_at = Criterion("margin"), Criterion("margin")
    plain(embeddings, target)
    looked_at(embeddings, target)
    looked_at.eval()
    assert looked_at(embeddings, target).item() == looked_at(embeddings, target).item()
    looked_at.train()
    assert plain(embeddings, target).item() == looked_at(embeddings, target).item()
