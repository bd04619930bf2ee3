"""Which triplets and negatives are taken: distance-weighted sampling against its formula, and its randomness."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from lossbench.losses import Criterion
from lossbench.losses.distances import pair_masks, pairwise_distances, unit_vectors
from lossbench.losses.mining import (
    all_triplets,
    distance_log_weights,
    draw_negatives,
    hardest_pairs,
    negative_probabilities,
)


def draw(batch: int = 24, dim: int = 4, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
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
    embeddings, target = draw(seed=seed)
    miners.DistanceWeightedMiner()(embeddings, target)
    _, other = pair_masks(target)
    distance = pairwise_distances(unit_vectors(embeddings))
    in_reach = (other & (distance < 1.4)).any(1)
    assert in_reach.sum() > 20
    ours = negative_probabilities(distance, other, 4)
    torch.testing.assert_close(ours[in_reach], seen["weights"][in_reach])


def test_the_draws_follow_the_probabilities():
    embeddings, target = draw(batch=12)
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
    embeddings, target = draw(dim=2048)
    _, other = pair_masks(target)
    distance = pairwise_distances(unit_vectors(embeddings.float()))
    closer = distance * 0.4  # some below and some above half
    for spread in (distance, closer):
        chance = negative_probabilities(spread, other, 2048)
        torch.testing.assert_close(chance.sum(1), torch.ones(24))
        assert not chance[~other].any()


def test_the_hardest_are_the_farthest_of_the_class_and_the_nearest_of_the_others():
    embeddings, target = draw(classes=5, batch=9)
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
    embeddings, target = draw(dim=8)
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
    embeddings, target = draw(dim=8)
    first, second = (Criterion("margin", seed=5, learn_b=True) for _ in range(2))
    for _ in range(3):
        first(embeddings, target)
    second.load_state_dict(first.state_dict())
    assert first(embeddings, target).item() == second(embeddings, target).item()


def test_in_eval_mode_the_draws_are_fixed_and_do_not_disturb_training():
    embeddings, target = draw(dim=8)
    plain, looked_at = Criterion("margin"), Criterion("margin")
    plain(embeddings, target)
    looked_at(embeddings, target)
    looked_at.eval()
    assert looked_at(embeddings, target).item() == looked_at(embeddings, target).item()
    looked_at.train()
    assert plain(embeddings, target).item() == looked_at(embeddings, target).item()
