"""Colour jitter of a whole batch: brightness, contrast, saturation and hue, each image by amounts of its own."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

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
