"""Batched augmentations: the same as torchvision's one by one, in the ranges of the papers, and by seed."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torchvision.transforms.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st

from lossbench.augmentation import (
    ADMA_CIFAR10,
    ADMA_CIFAR100,
    ADMA_MNIST,
    AUGMENTATIONS,
    THESIS,
    Drawn,
    Geometry,
    draw,
    warp,
)
from lossbench.data import load
from lossbench.jitter import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    jitter_colour,
)

NEAREST, BILINEAR = TF.InterpolationMode.NEAREST, TF.InterpolationMode.BILINEAR


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=seeded(0))


def parameters(count: int = 1, **values: float) -> Drawn:
    neutral = Drawn(*(torch.full((count,), float(v)) for v in (1, 1, 0, 1, 0, 0, 0)))
    return neutral._replace(**{key: torch.full((count,), float(value)) for key, value in values.items()})


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
@pytest.mark.parametrize("shape", [(5, 1, 28, 28), (4, 3, 32, 32), (2, 3, 75, 100), (1, 1, 16, 16)])
def test_every_augmentation_keeps_shape_type_and_range(name: str, shape: tuple[int, ...]) -> None:
    images = random_images(*shape)
    before = images.clone()
    changed = AUGMENTATIONS[name](images, seeded(1))
    assert changed.shape == images.shape
    assert changed.dtype == images.dtype
    assert 0 <= changed.min() <= changed.max() <= 1
    assert torch.equal(images, before)
    assert torch.equal(changed, images) == (name == "none")


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_the_same_seed_gives_the_same_images_and_no_other_random_state_is_touched(name: str) -> None:
    images = random_images(16, 3, 32, 32)
    state = torch.get_rng_state()
    first, again, other = (AUGMENTATIONS[name](images, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name == "none")
    assert torch.equal(torch.get_rng_state(), state)


def test_images_of_a_batch_get_parameters_of_their_own() -> None:
    images = random_images(1, 3, 32, 32).expand(8, -1, -1, -1)
    changed = AUGMENTATIONS["adma_cifar10"](images, seeded(0))
    assert len({image.numpy().tobytes() for image in changed}) == 8


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    angle=st.floats(-90, 90),
    scale=st.floats(0.8, 1.2),
    shift=st.tuples(st.integers(-6, 6), st.integers(-6, 6)),
    shape=st.sampled_from([(28, 28), (32, 32), (20, 32)]),
)
def test_turn_scale_and_shift_agree_with_torchvision(
    angle: float, scale: float, shift: tuple[int, int], shape: tuple[int, int]
) -> None:
    height, width = shape
    images = random_images(1, 3, height, width)
    drawn = parameters(angle=math.radians(angle), scale=scale, shift_x=shift[0] / width, shift_y=shift[1] / height)
    for mode, theirs in (("bilinear", BILINEAR), ("nearest", NEAREST)):
        ours = warp(images, drawn, Geometry(mode=mode, padding="zeros"))
        expected = TF.affine(images, angle, list(shift), scale, [0.0, 0.0], theirs)
        # A pixel halfway between two may be taken from either, so a few may differ when the nearest is taken.
        assert (torch.isclose(ours, expected, atol=1e-3).float().mean()) > (0.99 if mode == "nearest" else 0.999)


def test_a_shear_agrees_with_torchvision() -> None:
    images = random_images(1, 1, 31, 31)
    ours = warp(images, parameters(shear=0.2), Geometry(padding="zeros"))
    degrees = math.degrees(math.atan(0.2))
    both = [TF.affine(images, 0.0, [0, 0], 1.0, [sign * degrees, 0.0], BILINEAR) for sign in (1, -1)]
    assert any(torch.allclose(ours, expected, atol=1e-4) for expected in both)  # its sign has no meaning here


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_flips_are_exact_mirrors_and_no_change_is_none(mode: str) -> None:
    images = random_images(2, 3, 32, 28)
    geometry = Geometry(mode=mode, padding="zeros")
    assert torch.allclose(warp(images, parameters(2, flip_x=-1), geometry), images.flip(3), atol=1e-5)
    assert torch.allclose(warp(images, parameters(2, flip_y=-1), geometry), images.flip(2), atol=1e-5)
    assert torch.allclose(warp(images, parameters(2), geometry), images, atol=1e-5)


def test_an_image_is_flipped_before_it_is_moved_as_in_paper_000() -> None:
    images = random_images(1, 1, 32, 32)
    geometry = Geometry(mode="nearest", padding="zeros")
    both = warp(images, parameters(flip_x=-1, shift_x=0.25), geometry)
    assert torch.equal(both[..., 8:], images.flip(3)[..., :24])


PAPERS = {  # geometry, horizontal flips, vertical flips, share moved, degrees, scale, shear, shift
    "thesis": (THESIS, 0.5, 0.5, 0.9, 90, (0.8, 1.2), 0, 0),
    "adma_mnist": (ADMA_MNIST, 0, 0, 1, 30, (1, 1), 0, 0.2),
    "adma_cifar10": (ADMA_CIFAR10, 0.5, 0, 1, 0, (1, 1), 0.2, 0.2),
    "adma_cifar100": (ADMA_CIFAR100, 0.5, 0, 1, 15, (1, 1), 0, 0.1),
}


def test_every_augmentation_of_a_paper_has_its_ranges_checked() -> None:
    assert set(PAPERS) == set(AUGMENTATIONS) - {"none"}


@pytest.mark.parametrize("name", list(PAPERS))
def test_parameters_follow_the_papers_rates_and_ranges(name: str) -> None:
    geometry, flip_x, flip_y, moved, degrees, (low, high), shear, shift = PAPERS[name]
    count = 100_000
    drawn = draw(geometry, count, seeded(0))
    tolerance = 4 * 0.5 / math.sqrt(count)  # four standard errors of a share
    assert (drawn.flip_x < 0).float().mean() == pytest.approx(flip_x, abs=tolerance)
    assert (drawn.flip_y < 0).float().mean() == pytest.approx(flip_y, abs=tolerance)
    ranges = [
        (drawn.angle.rad2deg(), -degrees, degrees),
        (drawn.scale, low, high),
        (drawn.shear, -shear, shear),
        (drawn.shift_x, -shift, shift),
        (drawn.shift_y, -shift, shift),
    ]
    for values, lowest, highest in ranges:
        neutral = (lowest + highest) / 2
        if lowest == highest:
            assert torch.equal(values, torch.full_like(values, neutral))
            continue
        assert lowest <= values.min() <= values.max() <= highest
        moving = values[values != neutral]
        assert len(moving) / count == pytest.approx(moved, abs=tolerance)
        counts = torch.histc(moving.double(), 10, lowest, highest) / len(moving)
        assert counts.tolist() == pytest.approx([0.1] * 10, abs=2 * tolerance)
    if moved < 1:
        together = (drawn.angle != 0) == (drawn.scale != 1)
        assert together.float().mean() > 0.999


COLOURS = [
    (adjust_brightness, TF.adjust_brightness, (0.8, 1.0, 1.2)),
    (adjust_contrast, TF.adjust_contrast, (0.8, 1.0, 1.2)),
    (adjust_saturation, TF.adjust_saturation, (0.8, 1.0, 1.2)),
    (adjust_hue, TF.adjust_hue, (-0.2, 0.0, 0.2)),
]


@pytest.mark.parametrize(("ours", "theirs", "amounts"), COLOURS, ids=lambda value: getattr(value, "__name__", ""))
def test_colour_changes_agree_with_torchvision_image_by_image(
    ours: Callable[..., torch.Tensor], theirs: Callable[..., torch.Tensor], amounts: tuple[float, ...]
) -> None:
    images = random_images(len(amounts), 3, 9, 7)
    images[:, :, 0] = images[:, :1, 0]  # some grey pixels, which have no hue
    changed = ours(images, torch.tensor(amounts).view(-1, 1, 1, 1))
    for image, amount, result in zip(images, amounts, changed, strict=True):
        assert torch.allclose(result, theirs(image, amount), atol=1e-5)


def test_jitter_changes_four_images_in_ten_within_its_range() -> None:
    images = torch.full((20_000, 1, 2, 2), 0.5)
    changed = jitter_colour(images, seeded(0), probability=0.4, strength=0.2)[:, 0, 0, 0]
    share = (changed != 0.5).float().mean()
    assert share == pytest.approx(0.4, abs=4 * 0.5 / math.sqrt(20_000))
    assert 0.4 <= changed.min() < 0.41  # on even grey only brightness, a factor from 0.8 to 1.2, has an effect
    assert 0.59 < changed.max() <= 0.6


def test_jitter_leaves_grey_images_without_hue() -> None:
    images = random_images(50, 1, 8, 8).expand(-1, 3, -1, -1)
    changed = jitter_colour(images, seeded(0), probability=1.0, strength=0.2)
    assert torch.allclose(changed[:, :1].expand_as(changed), changed, atol=2e-4)


def test_augmented_shapes_still_look_like_their_class() -> None:
    train = load("shapes").train
    images = train.images.float() / 255
    changed = AUGMENTATIONS["thesis"](images, seeded(0))
    area = (changed > 0.2).float().sum((1, 2, 3)) / (images > 0.2).float().sum((1, 2, 3))
    assert area.quantile(0.05) > 0.5
    assert area.quantile(0.95) < 1.6
