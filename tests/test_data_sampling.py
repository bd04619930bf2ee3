"""Splits by class and seed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lossbench.data import degrade, load
from lossbench.data.sampling import (
    apportion,
    flip_target,
    long_tail,
    stratified_folds,
    stratified_split,
    stratified_subset,
)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=8),
    fraction=st.floats(0.02, 0.98),
    seed=st.integers(0, 2**31),
)
def test_a_stratified_split_parts_every_class_in_proportion(sizes: list[int], fraction: float, seed: int) -> None:
    target = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    target = target[torch.randperm(len(target), generator=torch.Generator().manual_seed(1))]
    rest, held = stratified_split(target, fraction, seed)
    assert sorted(torch.cat([rest, held]).tolist()) == list(range(len(target)))
    assert len(held) == round(fraction * len(target))
    for c, size in enumerate(sizes):
        assert abs(int((target[held] == c).sum()) - fraction * size) < 1.5


def test_a_split_follows_its_seed_and_leaves_the_global_random_state_alone() -> None:
    target = torch.arange(100) % 5
    before = torch.get_rng_state()
    first, again, other = (stratified_split(target, 0.2, seed)[1] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_outside_0_and_1_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction"):
        stratified_split(torch.arange(10), fraction, 0)


def test_apportion_gives_the_seats_of_the_textbook_example() -> None:
    # Hamilton's method, the worked example of Wikipedia's "Quota method": 10 seats
    votes = torch.tensor([47_000, 16_000, 15_900, 12_000, 6_000, 3_100])
    assert apportion(votes, 10).tolist() == [5, 2, 1, 1, 1, 0]


TARGET = torch.arange(1000) % 10


def test_a_subset_keeps_the_share_of_every_class() -> None:
    chosen = stratified_subset(TARGET, 250, seed=1)
    assert torch.bincount(TARGET[chosen]).tolist() == [25] * 10
    with pytest.raises(ValueError, match="train_size"):
        stratified_subset(TARGET, 1001, seed=1)


def test_a_long_tail_falls_from_the_first_to_the_last_class_by_the_factor() -> None:
    counts = torch.bincount(TARGET[long_tail(TARGET, 10.0, seed=1)]).tolist()
    assert counts == [round(100 * 10 ** (-c / 9)) for c in range(10)]
    assert (counts[0], counts[-1]) == (100, 10)
    with pytest.raises(ValueError, match="imbalance"):
        long_tail(TARGET, 0.5, seed=1)


@pytest.mark.parametrize("kind", ["symmetric", "asymmetric"])
def test_label_noise_changes_the_share_asked_for_in_every_class(kind: str) -> None:
    noisy = flip_target(TARGET, 0.3, seed=1, kind=kind)
    wrong = noisy != TARGET
    assert torch.bincount(TARGET[wrong]).tolist() == [30] * 10
    assert set(noisy.tolist()) <= set(range(10))
    shifts = set(((noisy - TARGET) % 10)[wrong].tolist())
    assert shifts == ({1} if kind == "asymmetric" else set(range(1, 10)))


def test_label_noise_refuses_bad_rates_and_kinds() -> None:
    with pytest.raises(ValueError, match=r"label_noise.*1\.0"):
        flip_target(TARGET, 1.0, seed=1)
    with pytest.raises(ValueError, match="did you mean 'symmetric'"):
        flip_target(TARGET, 0.1, seed=1, kind="symetric")


def test_ten_folds_cover_the_test_images_once_with_every_class_in_each() -> None:
    folds = stratified_folds(TARGET, 10, seed=0)
    assert sorted(torch.cat(folds).tolist()) == list(range(1000))
    assert all(torch.bincount(TARGET[fold]).tolist() == [10] * 10 for fold in folds)
    with pytest.raises(ValueError, match="folds"):
        stratified_folds(TARGET, 1, seed=0)


@dataclass
class Config:
    train_size: int | None = None
    label_noise: float = 0.0
    imbalance: float = 1.0
    noise_kind: str = "symmetric"
    seed: int = 0


def test_degrade_does_what_a_config_asks_and_nothing_by_default() -> None:
    split = load("shapes").train
    assert degrade(split, Config()) is split
    bad = degrade(split, Config(train_size=80, label_noise=0.25, imbalance=2.0))
    assert len(bad) == 80
    again = degrade(split, Config(train_size=80, label_noise=0.25, imbalance=2.0))
    assert torch.equal(bad.images, again.images)
    assert torch.equal(bad.target, again.target)
    clean = degrade(split, Config(train_size=80, imbalance=2.0))
    assert torch.equal(bad.images, clean.images)
    assert int((bad.target != clean.target).sum()) == 20
