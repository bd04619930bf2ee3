"""Images from a dataset, and the ones a model got wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lossbench.plots.style import FIGURE_FONT, INK, axes


def images(pictures: ArrayLike, captions: Sequence[str] = (), ax: Any = None, columns: int = 5, title: str = "") -> Any:
    """Draw pictures side by side, `columns` a row, each under its caption.

    Args:
        pictures: (N, C, H, W) with 1 or 3 channels, uint8 or any numbers; numbers are stretched from the lowest to
            the highest of each picture.
        captions: none, or one a picture.
    """
    stack = np.asarray(pictures)
    if stack.ndim != 4 or stack.shape[1] not in (1, 3) or not len(stack):
        raise ValueError(f"pictures must be (N, C, H, W) with 1 or 3 channels, got {stack.shape}")
    if captions and len(captions) != len(stack):
        raise ValueError(f"{len(captions)} captions do not fit {len(stack)} pictures")
    gap, room = 0.08, 0.16 * (1 + max((caption.count("\n") for caption in captions), default=-1))
    across, down = min(columns, len(stack)) * (1 + gap) - gap, -(-len(stack) // columns) * (1 + gap + room)
    ax = _fitting_axes(across, down) if ax is None else ax
    for place, picture in enumerate(stack):
        row, column = divmod(place, columns)
        left, top = column * (1 + gap), row * (1 + gap + room) + room
        ax.imshow(_shown(picture), cmap="gray", extent=(left, left + 1, top + 1, top), interpolation="nearest")
        if captions:
            middle = (left + 0.5, top - 0.04)
            ax.annotate(captions[place], middle, ha="center", va="bottom", fontsize=FIGURE_FONT, color=INK)
    ax.set_xlim(0, across)
    ax.set_ylim(down, 0)
    ax.set_axis_off()
    ax.set_title(title, loc="left", fontsize=FIGURE_FONT + 0.5, color=INK, fontweight="bold")
    return ax


def mistakes(
    pictures: ArrayLike,
    log_probs: ArrayLike,
    target: ArrayLike,
    class_names: Sequence[str],
    ax: Any = None,
    count: int = 10,
) -> Any:
    """Draw the images that a model got wrong with most confidence, surest first.

    Args:
        pictures: (N, C, H, W), in the order of the predictions.
        log_probs: (N, classes); target: (N,) class indices.
        count: how many to show at most.
    """
    scores, truth = np.asarray(log_probs), np.asarray(target)
    chosen, confidence = scores.argmax(axis=1), np.exp(scores.max(axis=1))
    wrong = np.flatnonzero(chosen != truth)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    if not len(surest):
        ax = axes(ax)
        ax.set_axis_off()
        ax.set_title("no mistakes", loc="left", fontsize=FIGURE_FONT + 0.5, color=INK)
        return ax
    captions = [f"is {class_names[truth[i]]}\n{class_names[chosen[i]]}? {100 * confidence[i]:.0f} %" for i in surest]
    return images(np.asarray(pictures)[surest], captions, ax)


def _fitting_axes(across: float, down: float) -> Any:
    """New axes in a pyplot figure for this many pictures across and down."""
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(1.25 * across, 1.25 * down), layout="constrained")[1]


def _shown(picture: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(C, H, W) numbers as (H, W) or (H, W, 3) between 0 and 1."""
    values = picture.astype(float)
    low, high = (0.0, 255.0) if picture.dtype == np.uint8 else (values.min(), values.max())
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return scaled[0] if len(scaled) == 1 else scaled.transpose(1, 2, 0)
