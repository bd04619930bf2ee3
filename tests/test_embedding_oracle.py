"""The losses on embeddings against pytorch-metric-learning, in value and gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lossbench.losses import Criterion
from lossbench.losses.embedding import draw_negatives, pair_masks, pairwise_distances, unit_vectors

peer = pytest.importorskip("pytorch_metric_learning")

from pytorch_metric_learning import distances, losses, miners, regularizers  # noqa: E402

SEEDS = pytest.mark.parametrize("seed", range(2))


def draw(batch: int = 30, dim: int = 6, classes: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(batch, dim, generator=generator, dtype=torch.float64)
    return embeddings.requires_grad_(), torch.randint(classes, (batch,), generator=generator)


def assert_equal(ours: Tensor, theirs: Tensor, *inputs: Tensor) -> None:
    """Value and gradients agree to 1e-6, and the gradients are there."""
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    mine, other = (torch.autograd.grad(loss, inputs) for loss in (ours, theirs))
    torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-6)
    assert all(gradient.abs().max() > 1e-6 for gradient in mine)


class SquaredContrastive(losses.ContrastiveLoss):
    """Theirs hinges the distances; Hadsell et al. and we square the hinges."""

    def pos_calc(self, pos_pair_dist, margin):
        return super().pos_calc(pos_pair_dist, margin).square()

    def neg_calc(self, neg_pair_dist, margin):
        return super().neg_calc(neg_pair_dist, margin).square()


@SEEDS
@pytest.mark.parametrize("margin", [1.0, 1.5])
def test_contrastive(seed, margin):
    embeddings, target = draw(seed=seed)
    theirs = SquaredContrastive(neg_margin=margin)(embeddings, target)
    assert_equal(Criterion("contrastive", margin=margin)(embeddings, target), theirs, embeddings)


@SEEDS
@pytest.mark.parametrize("mining", ["batch_hard", "semi_hard", "all"])
@pytest.mark.parametrize("margin", [0.2, 1.0])
def test_triplet(seed, mining, margin):
    embeddings, target = draw(seed=seed)
    squared = distances.LpDistance(power=2)
    miner = {
        "batch_hard": miners.BatchHardMiner(distance=squared),
        "semi_hard": miners.TripletMarginMiner(margin=margin, type_of_triplets="semihard", distance=squared),
        "all": lambda *_: None,
    }[mining]
    found = miner(embeddings, target)
    theirs = losses.TripletMarginLoss(margin=margin, distance=squared)(embeddings, target, found)
    assert_equal(Criterion("triplet", margin=margin, mining=mining)(embeddings, target), theirs, embeddings)


@SEEDS
@pytest.mark.parametrize(("alpha", "b"), [(0.2, 1.2), (0.1, 0.9)])
def test_margin_on_all_triplets(seed, alpha, b):
    embeddings, target = draw(seed=seed)
    theirs = losses.MarginLoss(margin=alpha, beta=b)(embeddings, target)
    ours = Criterion("margin", alpha=alpha, b=b, sampling="all")(embeddings, target)
    assert_equal(ours, theirs, embeddings)


@SEEDS
def test_margin_on_the_same_drawn_triplets(seed):
    embeddings, target = draw(seed=seed)
    criterion = Criterion("margin", seed=seed).eval()
    distance = pairwise_distances(unit_vectors(embeddings)).detach()
    same, other = pair_masks(target)
    negatives = draw_negatives(distance, other, 6, criterion.state()["generator"])
    anchor, positive = same.nonzero(as_tuple=True)
    theirs = losses.MarginLoss()(embeddings, target, (anchor, positive, negatives[anchor, positive]))
    assert_equal(criterion(embeddings, target), theirs, embeddings)


@SEEDS
def test_margin_with_a_learned_boundary(seed):
    embeddings, target = draw(seed=seed)
    theirs = losses.MarginLoss(learn_beta=True, nu=0.3).double()
    ours = Criterion("margin", learn_b=True, nu=0.3, sampling="all").double()
    (b,) = ours.parameters()
    torch.testing.assert_close(b.detach(), theirs.beta[0].detach())
    values = ours(embeddings, target), theirs(embeddings, target).squeeze()
    torch.testing.assert_close(*values)
    gradients = [torch.autograd.grad(loss, p)[0] for loss, p in zip(values, (b, theirs.beta), strict=True)]
    torch.testing.assert_close(gradients[0], gradients[1][0])


@SEEDS
def test_n_pair(seed):
    embeddings, target = draw(seed=seed)
    theirs = losses.NPairsLoss(distance=distances.DotProductSimilarity(normalize_embeddings=False))
    ours = Criterion("n_pair", norm_weight=0.0)
    assert_equal(ours(embeddings, target), theirs(embeddings, target), embeddings)


@SEEDS
def test_n_pair_with_its_price_on_lengths_where_every_sample_is_in_a_pair(seed):
    embeddings, _ = draw(batch=12, seed=seed)
    target = torch.arange(12) % 6
    theirs = losses.NPairsLoss(
        distance=distances.DotProductSimilarity(normalize_embeddings=False),
        embedding_regularizer=regularizers.LpRegularizer(p=2, power=2),
        embedding_reg_weight=0.02,
    )
    assert_equal(Criterion("n_pair")(embeddings, target), theirs(embeddings, target), embeddings)


@SEEDS
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_proxy_nca(seed, scale):
    embeddings, target = draw(seed=seed)
    theirs = losses.ProxyNCALoss(num_classes=5, embedding_size=6, softmax_scale=scale).double()
    context = {"num_classes": 5, "embedding_dim": 6, "scale": scale, "seed": seed}
    ours = Criterion("proxy_nca", include_target=True, **context).double()
    theirs.proxies.data = ours.state.proxies.data.clone()
    assert_equal(ours(embeddings, target), theirs(embeddings, target), embeddings)
    (gradient,) = torch.autograd.grad(ours(embeddings, target), ours.state.proxies)
    (their_gradient,) = torch.autograd.grad(theirs(embeddings, target), theirs.proxies)
    torch.testing.assert_close(gradient, their_gradient)


@SEEDS
def test_proxy_nca_without_its_target_is_the_log_odds_of_theirs(seed):
    embeddings, target = draw(batch=1, seed=seed)
    theirs = losses.ProxyNCALoss(num_classes=5, embedding_size=6).double()
    ours = Criterion("proxy_nca", num_classes=5, embedding_dim=6, seed=seed).double()
    theirs.proxies.data = ours.state.proxies.data.clone()
    with_target = theirs(embeddings, target)
    assert_equal(ours(embeddings, target), with_target + torch.log(-torch.expm1(-with_target)), embeddings)


ANGULAR = [
    ({"angle": 0.3, "scale": 16.0}, losses.ArcFaceLoss, {"margin": math.degrees(0.3), "scale": 16}),
    ({"angle": 0.0, "margin": 0.35, "scale": 64.0}, losses.CosFaceLoss, {"margin": 0.35, "scale": 64}),
    ({"angle": 0.0, "scale": 20.0}, losses.NormalizedSoftmaxLoss, {"temperature": 0.05}),
]


@SEEDS
@pytest.mark.parametrize(("params", "theirs", "their_params"), ANGULAR)
def test_angular_margin(seed, params, theirs, their_params):
    embeddings, target = draw(seed=seed)
    ours = Criterion("angular_margin", num_classes=5, embedding_dim=6, seed=seed, **params).double()
    peer = theirs(num_classes=5, embedding_size=6, **their_params).double()
    peer.W.data = ours.state.proxies.data.T.clone()
    cosine = (unit_vectors(embeddings) * unit_vectors(ours.state.proxies)[target]).sum(1)
    assert cosine.min() > -math.cos(params["angle"])  # beyond it theirs has a jump
    assert_equal(ours(embeddings, target), peer(embeddings, target), embeddings)


def test_angular_margin_falls_with_the_cosine_and_has_no_jump():
    angle = torch.linspace(0, math.pi, 4001, dtype=torch.float64)
    embeddings = torch.stack([angle.cos(), angle.sin()], dim=1)
    criterion = Criterion("angular_margin", num_classes=2, embedding_dim=2, angle=0.5, reduction="none").double()
    criterion.state.proxies.data = torch.tensor([[1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)
    own = criterion.state.proxies.data @ embeddings.T
    other = 16.0 * own[1]
    loss = torch.log(torch.expm1(criterion(embeddings, torch.zeros(4001, dtype=torch.int64)))) - other
    assert (loss.diff() > 0).all()
    assert loss.diff().max() < 16.0 * 2 * math.pi / 4000


@SEEDS
@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_supervised_contrastive(seed, tau):
    embeddings, target = draw(seed=seed)
    theirs = losses.SupConLoss(temperature=tau)(embeddings, target)
    assert_equal(Criterion("supervised_contrastive", tau=tau)(embeddings, target), theirs, embeddings)


@SEEDS
def test_ldam_of_equal_classes_is_the_margin_of_cosines(seed):
    embeddings, target = draw(seed=seed)
    context = {"num_classes": 5, "embedding_dim": 6, "seed": seed, "margin": 0.5, "scale": 30.0}
    ours = Criterion("ldam", class_counts=[7] * 5, **context).double()
    plain = Criterion("angular_margin", angle=0.0, **context).double()
    assert_equal(ours(embeddings, target), plain(embeddings, target), embeddings)


@SEEDS
def test_the_normalised_softmax_is_proxy_nca_with_its_target_at_half_the_scale(seed):
    embeddings, target = draw(seed=seed)
    context = {"num_classes": 5, "embedding_dim": 6, "seed": seed}
    ours = Criterion("angular_margin", angle=0.0, scale=6.0, **context).double()
    proxy_nca = Criterion("proxy_nca", include_target=True, scale=3.0, **context).double()
    assert_equal(ours(embeddings, target), proxy_nca(embeddings, target), embeddings)
