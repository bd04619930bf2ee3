"""Embeddings on a plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lossbench.plots.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, VERMILLION, axes, settle

COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, INK, GREY)


def embedding(points: ArrayLike, target: ArrayLike, class_names: Sequence[str], ax: Any = None, title: str = "") -> Any:
    """Draw images as points of a plane, each as the number of its class, so that no colour is needed.

    Args:
        points: (images, 2) places on the plane; both directions get one scale.
        target: (images,) class indices.
        class_names: named in the legend entries, which are left to the caller to show.

    Raises: ValueError when the shapes do not fit.
    """
    places, truth = np.asarray(points, dtype=float), np.asarray(target)
    if places.ndim != 2 or places.shape[1] != 2 or truth.shape != places.shape[:1]:
        raise ValueError(f"points {places.shape} and target {truth.shape} do not fit: pass (images, 2) and (images,)")
    ax = axes(ax)
    for number, name in enumerate(class_names):
        look = {"marker": f"${number}$", "color": COLOURS[number % len(COLOURS)], "markersize": 4.5}
        ax.plot(*places[truth == number].T, linestyle="none", markeredgewidth=0.2, label=f"{number} {name}", **look)
    ax.set_aspect("equal", adjustable="datalim")
    settle(ax, title)
    ax.set_xticks([])
    ax.set_yticks([])
    return ax
