"""Augmentations of a whole batch at once, each image with random parameters of its own.

All flips, rotations, scales, shears and shifts of an image become one matrix, so its pixels are sampled once. Random
numbers come from the generator given: the same seed gives the same images, bit for bit. It is best on the CPU, also
for images on a GPU: only the few numbers of each image travel, and nothing waits for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lossbench.registry import Registry

# Colour jitter of a whole batch: brightness, contrast, saturation and hue, each image by amounts of its own.

_GREY = (0.2989, 0.587, 0.114)  # as torchvision and PIL weigh red, green and blue


def jitter_colour(images: Tensor, generator: torch.Generator, *, probability: float, strength: float) -> Tensor:
    """Change the colours of some images as torchvision's ColorJitter(strength, ...) would.

    The four changes come in an order drawn once a batch. Saturation and hue leave grey images alone.

    Args:
        images: (N, C, H, W) in [0, 1], C 1 or 3.
        generator: best on the CPU, also for images on a GPU, which would have to be waited for otherwise.
        probability: of changing an image at all.
        strength: factors lie in [1 - strength, 1 + strength], the turn of the hue in [-strength, strength].
    """
    u = torch.rand(5, len(images), generator=generator, device=generator.device)
    order = torch.rand(4, generator=generator, device=generator.device).argsort().tolist()
    chosen = (u[0] < probability).nonzero()[:, 0]
    change = ((2 * u[1:, chosen] - 1) * strength).to(images.device, images.dtype, non_blocking=True)
    change, chosen = change[..., None, None, None], chosen.to(images.device, non_blocking=True)
    changes = [adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue]
    part = images.index_select(0, chosen)
    for index in order:
        if index < 2 or images.shape[1] == 3:
            part = changes[index](part, change[index] + (index < 3))
    return images.index_copy(0, chosen, part)


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply (N, C, H, W) by a factor (N, 1, 1, 1) each; 1 changes nothing."""
    return (images * factor).clamp_(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Move every pixel away from (factor > 1) or towards (< 1) the mean grey of its image."""
    mean = grey(images).flatten(1).mean(1)[:, None, None, None]
    return (images * factor).add_((1 - factor) * mean).clamp_(0, 1)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Move every pixel of (N, 3, H, W) away from or towards its own grey."""
    return torch.lerp(grey(images), images, factor).clamp_(0, 1)


def adjust_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue of (N, 3, H, W) by `turn` (N, 1, 1, 1) of a full circle."""
    red, green, blue = images.unbind(1)
    high, low = images.amax(1), images.amin(1)
    spread = high - low
    # The sixth of the circle by which channel is highest, chosen by `lerp` with 0 or 1: `where` is far slower.
    is_red, is_green = ((channel - high).sign_().add_(1) for channel in (red, green))
    after_red, after_green, after_blue = (
        (ahead - behind).add_(spread, alpha=start)
        for ahead, behind, start in ((green, blue, 6), (blue, red, 8), (red, green, 10))
    )
    hue = after_blue.lerp_(after_green, is_green).lerp_(after_red, is_red)
    hue = hue.div_(spread.clamp(min=1e-12)).div_(6)[:, None]  # in turns, plus one
    # The closed form of HSV to RGB, for all three channels at once.
    part = (hue + (turn + _sector_starts(images.device))).frac_()
    part.mul_(6).sub_(3).abs_().sub_(1).clamp_(0, 1)
    return part.mul_(spread[:, None]).add_(low[:, None])


def grey(images: Tensor) -> Tensor:
    """(N, C, H, W) to (N, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split_with_sizes([1, 1, 1], dim=1)
    return (red * _GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2])


@cache
def _sector_starts(device: torch.device) -> Tensor:
    """Where red, green and blue start on the circle, (1, 3, 1, 1); one turn more, so that no sum is negative."""
    return torch.tensor([3.0, 5.0, 4.0], device=device).div_(3).view(1, 3, 1, 1)


Augmentation = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Geometry:
    """Ranges that the parameters of each image are drawn from, evenly.

    Args:
        horizontal_flip, vertical_flip: probabilities.
        probability: of turning, scaling, shearing and shifting an image at all.
        degrees: turn by an angle in [-degrees, degrees].
        scale: (low, high) enlargement.
        shear: tangent in [-shear, shear] by which the rows lean.
        shift: share of the width and of the height, each drawn in [-shift, shift].
        mode, padding: of `torch.nn.functional.grid_sample`.
    """

    horizontal_flip: float = 0.0
    vertical_flip: float = 0.0
    probability: float = 1.0
    degrees: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    shift: float = 0.0
    mode: str = "bilinear"
    padding: str = "border"


class Drawn(NamedTuple):
    """Parameters of N images, each (N,): flips are -1 or 1, angles in radians, shifts in shares of the side."""

    flip_x: Tensor
    flip_y: Tensor
    angle: Tensor
    scale: Tensor
    shear: Tensor
    shift_x: Tensor
    shift_y: Tensor


# torchvision's RandomAffine samples the nearest pixel and fills with black unless told otherwise; paper 000 does not.
THESIS = Geometry(0.5, 0.5, probability=0.9, degrees=90, scale=(0.8, 1.2), mode="nearest", padding="zeros")
# "Rotation range" and "shift range" are the words of Keras, which interpolates and repeats the border.
ADMA_MNIST = Geometry(degrees=30, shift=0.2)
ADMA_CIFAR10 = Geometry(0.5, shear=0.2, shift=0.2)  # "warping" is not quantified: a shear up to 0.2 is our reading
ADMA_CIFAR100 = Geometry(0.5, degrees=15, shift=0.1)


def none(images: Tensor, generator: torch.Generator) -> Tensor:
    """The images as they are."""
    return images


def thesis(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flips, turns up to 90 degrees, scales 0.8 to 1.2, and colour jitter of 0.2 for four images in ten.

    Args:
        images: (N, C, H, W) in [0, 1], C 1 or 3.
        generator: on any device.
    Source: paper 000, section 3; "increased by 0.2" is read as torchvision's ColorJitter(0.2, 0.2, 0.2, 0.2).
    """
    images = warp(images, draw(THESIS, len(images), generator), THESIS)
    return jitter_colour(images, generator, probability=0.4, strength=0.2)


def adma_mnist(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turns up to 30 degrees and shifts up to 20 %. Source: paper 001, 4.2.1, for MNIST and Fashion-MNIST."""
    return warp(images, draw(ADMA_MNIST, len(images), generator), ADMA_MNIST)


def adma_cifar10(images: Tensor, generator: torch.Generator) -> Tensor:
    """Horizontal flips, shears up to 0.2 and shifts up to 20 %. Source: paper 001, 4.2.3, for CIFAR-10."""
    return warp(images, draw(ADMA_CIFAR10, len(images), generator), ADMA_CIFAR10)


def adma_cifar100(images: Tensor, generator: torch.Generator) -> Tensor:
    """Horizontal flips, turns up to 15 degrees and shifts up to 10 %. Source: paper 001, 4.2.4, for CIFAR-100."""
    return warp(images, draw(ADMA_CIFAR100, len(images), generator), ADMA_CIFAR100)


CROP = 8  # the border that a crop may reach into is an eighth of the side: 4 pixels of 32


def crop_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """A crop out of the image with a mirrored border of an eighth of its sides, and a horizontal flip of half of them.

    Whole pixels move, nothing is interpolated. Source: the usual one for CIFAR, He et al. 2016, arXiv:1512.03385, 4.2,
    whose border is black.
    """
    count, _, height, width = images.shape
    u = torch.rand(3, count, generator=generator, device=generator.device)
    borders = height // CROP, width // CROP
    down, right = ((u[i] * (2 * border + 1)).long()[:, None] for i, border in enumerate(borders))
    columns = torch.arange(width, device=u.device).expand(count, -1)
    columns = torch.where(u[2, :, None] < 0.5, columns.flip(1), columns) + right
    rows = torch.arange(height, device=u.device) + down
    rows, columns = (part.to(images.device, non_blocking=True) for part in (rows, columns))
    padded = F.pad(images, (borders[1], borders[1], borders[0], borders[0]), mode="reflect")
    every = torch.arange(count, device=images.device)[:, None, None]
    return padded[every, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


AUGMENTATIONS: Registry[Augmentation] = Registry(
    "augmentation",
    {function.__name__: function for function in (none, thesis, adma_mnist, adma_cifar10, adma_cifar100, crop_flip)},
)


def draw(geometry: Geometry, count: int, generator: torch.Generator) -> Drawn:
    """Draw the parameters of `count` images, on the generator's device; always eight numbers an image."""
    u = torch.rand(8, count, generator=generator, device=generator.device)
    flips, low, span, neutral = _ranges(geometry, generator.device)
    flipped = 1 - 2 * (u[:2] < flips).float()
    moved = u[2] < geometry.probability
    return Drawn(*flipped, *torch.where(moved, low + span * u[3:], neutral))


def warp(images: Tensor, drawn: Drawn, geometry: Geometry) -> Tensor:
    """Flip each image, then shear, scale, turn and shift it about its centre.

    Args:
        images: (N, C, H, W) floating point.
        drawn: on any device.
    Returns: the same shape and type.
    """
    height, width = images.shape[2:]
    cos, sin = drawn.angle.cos() / drawn.scale, drawn.angle.sin() / drawn.scale
    # From a pixel of the result back to the pixel it shows: undo the shift, the turn, the shear, the flip.
    matrix = torch.stack([cos + drawn.shear * sin, sin - drawn.shear * cos, -sin, cos]).view(2, 2, -1)
    matrix = matrix * torch.stack([drawn.flip_x, drawn.flip_y])[:, None]
    # `grid_sample` counts from -1 to 1 on both sides, so mixed terms take the ratio of the sides.
    matrix = matrix * _aspect(height, width, matrix.device)
    offset = -2 * (matrix * torch.stack([drawn.shift_x, drawn.shift_y])).sum(1, keepdim=True)
    matrix, offset = (part.to(images.device, non_blocking=True) for part in (matrix, offset))
    x, y = _centres(width, images.device), _centres(height, images.device)
    # Every grid point is a sum of a part from its column and one from its row: far cheaper than `affine_grid`.
    columns = torch.addcmul(offset.permute(2, 0, 1), matrix[:, 0].T[..., None], x)  # (N, 2, W)
    rows = matrix[:, 1].T[..., None] * y  # (N, 2, H)
    grid = (rows[..., None] + columns[:, :, None]).permute(0, 2, 3, 1).to(images.dtype)
    return F.grid_sample(images, grid, geometry.mode, geometry.padding, align_corners=False)


@cache
def _ranges(geometry: Geometry, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Flip probabilities (2, 1), and lowest value, width and neutral value (5, 1) in the order of `Drawn`."""
    angle, (small, large) = math.radians(geometry.degrees), geometry.scale
    low = torch.tensor([-angle, small, -geometry.shear, -geometry.shift, -geometry.shift])
    high = torch.tensor([angle, large, geometry.shear, geometry.shift, geometry.shift])
    flips = torch.tensor([geometry.horizontal_flip, geometry.vertical_flip])
    neutral = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0])
    columns = (flips, low, high - low, neutral)
    return tuple(column[:, None].to(device) for column in columns)  # type: ignore[return-value]


@cache
def _aspect(height: int, width: int, device: torch.device) -> Tensor:
    """(2, 2, 1) factors that turn a matrix of pixels into one of the coordinates -1 to 1."""
    return torch.tensor([[1.0, height / width], [width / height, 1.0]], device=device)[..., None]


@cache
def _centres(count: int, device: torch.device) -> Tensor:
    """(count,) coordinates of the pixels' centres along a side that runs from -1 to 1."""
    return (torch.arange(count, device=device, dtype=torch.float32) * 2 + 1) / count - 1
