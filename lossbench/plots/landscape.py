"""The shape of a loss: curves over one probability or logit, and the triangle of three probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lossbench.plots.style import FIGURE_FONT, GREY, INK, axes, loss_styles, settle, title_of

if TYPE_CHECKING:
    import torch

NAMES = {
    "loss": "L, nats",
    "slope_p": r"$\partial L / \partial p_t$",
    "slope_z": r"$\partial L / \partial z_t$",
    "curvature_p": r"$\partial^2 L / \partial p_t^2$",
    "curvature_z": r"$\partial^2 L / \partial z_t^2$",
    "p": "probability of the target, $p_t$",
    "z": "logit of the target, $z_t$ (others 0)",
}
LEVELS = 14
LOWEST = 0.004  # probability at the triangle's edge, where logits would be infinite
CORNERS = ("target", "B", "C")
FAINT = 0.05  # a gradient below this share of cross-entropy's counts as given up


def loss_curves(
    losses: Sequence[tuple[str, Mapping[str, Any]]],
    ax: Any = None,
    what: str = "loss",
    axis: str = "p",
    num_classes: int = 10,
    title: str = "",
) -> Any:
    """Draw losses, or their slopes, against the target's probability or logit; the other classes share the rest.

    Args:
        losses: (name, parameters) of losses on logits, in the form of `study.compare_losses`.
        what: `loss`, `slope_p`, `slope_z`, `curvature_p` or `curvature_z`.
        axis: `p` or `z`.
        num_classes: the value of some losses depends on it.

    Raises:
        ValueError: a name that is not known, or a loss on embeddings.
    """
    from lossbench.losses.curves import curves, side

    ax = axes(ax)
    sides = [side(name, **params) for name, params in losses]
    styles = loss_styles((one.loss, one.label) for one in sides)
    for one in sides:
        drawn = curves(one, axis=axis, num_classes=num_classes)  # type: ignore[arg-type]  # checked there
        style = styles[one.label]
        at = drawn.p if axis == "p" else drawn.z
        ax.plot(
            at,
            drawn.quantity(what),
            color=style.colour,
            linestyle=style.line,
            linewidth=1.6,
            label=title_of(one.loss, one.label),
        )
    ax.grid(color=GREY, alpha=0.25, linewidth=0.6)
    ax.legend(frameon=False, fontsize="small", handlelength=4.5)  # the longest dash pattern twice
    return settle(ax, title, NAMES[axis], NAMES[what])


def loss_simplex(name: str, params: Mapping[str, Any] | None = None, ax: Any = None, title: str | None = None) -> Any:
    """Draw a loss over all probabilities of three classes: the target is the upper corner.

    Colours go from the lowest value (dark) to high ones (bright) and are cut off above the value at the middle of
    the lower edge; three lines carry their value, a star marks the lowest. An arrow points where a small gradient step
    on the logits moves the probabilities and is as long as the square root of that gradient, cross-entropy's at the
    same place being 1; a dot stands where it is below a twentieth. A tree has the leaves `target`, `B` and `C`.

    Raises:
        ValueError: a name that is not known, or a loss on embeddings.
    """
    from lossbench.losses import LOSSES

    ax = axes(ax)
    params = dict(params or {})
    corners = np.array([[0.5, 3**0.5 / 2], [0.0, 0.0], [1.0, 0.0]])
    grid = _triangle(60)
    value, _ = _evaluate(name, params, grid)
    middle, _ = _evaluate(name, params, np.array([[LOWEST, (1 - LOWEST) / 2, (1 - LOWEST) / 2]]))
    top = max(middle[0], value.min() + 1e-9)
    x, y = (grid @ corners).T
    ax.tricontourf(x, y, value, levels=np.linspace(value.min(), top, LEVELS + 1), cmap="cividis", extend="max")
    lines = ax.tricontour(x, y, value, levels=np.linspace(value.min(), top, 5)[1:-1], colors="white", linewidths=0.5)
    ax.clabel(lines, fontsize=FIGURE_FONT - 2, fmt="%.2g")
    lowest = int(value.argmin())
    ax.plot(x[lowest], y[lowest], "*", color="white", markeredgecolor=INK, markeredgewidth=0.6, markersize=10, zorder=4)
    _draw_steps(ax, name, params, corners)
    for corner, text, place in zip(corners, CORNERS, ("bottom", "top", "top"), strict=True):
        ax.text(*corner, text, fontsize=FIGURE_FONT, color=INK, ha="center", va=place)
    ax.set_aspect("equal")
    ax.set_axis_off()
    if title is None:
        title = title_of(name, LOSSES[name].label({key: value for key, value in params.items() if key != "tree"}))
    ax.set_title(title, fontsize=FIGURE_FONT + 0.5, color=INK, fontweight="bold", pad=12)
    return ax


def _draw_steps(ax: Any, name: str, params: Mapping[str, Any], corners: np.ndarray) -> None:
    points = _triangle(11)
    points = points[(points > 0.03).all(1)]
    _, slope = _evaluate(name, params, points)
    reference = points - np.array([1.0, 0.0, 0.0])
    strength = np.linalg.norm(slope, axis=1) / np.linalg.norm(reference, axis=1)
    faint = strength < FAINT
    moved = -points * (slope - (points * slope).sum(1, keepdims=True))  # softmax turns a step -slope into this
    arrows = moved @ corners
    arrows *= (np.sqrt(np.clip(strength, 0, 2.5)) / (np.linalg.norm(arrows, axis=1) + 1e-30))[:, None]
    x, y = (points @ corners).T
    ax.plot(x[faint], y[faint], ".", color="white", markersize=2.5)
    keep = ~faint
    ax.quiver(x[keep], y[keep], *arrows[keep].T, color="white", scale=17, width=0.008, headwidth=4, pivot="mid")


def _triangle(steps: int) -> np.ndarray:
    """Evenly spaced probabilities of three classes (points, 3), kept off the edges."""
    counts = [(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]
    return LOWEST + (1 - 3 * LOWEST) * np.array(counts) / steps


def _evaluate(name: str, params: Mapping[str, Any], probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Value (points,) and gradient on the logits (points, 3) under softmax, the target being class 0."""
    import torch

    from lossbench.losses import LOSSES, Criterion
    from lossbench.registry import unknown

    if (entry := LOSSES[name]).takes != "logits":
        raise ValueError(unknown("loss on logits", name, _on_logits()) + f"; {entry.name} compares embeddings")
    criterion = Criterion(name, reduction="none", num_classes=3, class_counts=[1, 1, 1], class_names=CORNERS, **params)
    logits = torch.tensor(probs).log().requires_grad_()
    loss: torch.Tensor = criterion(logits, torch.zeros(len(probs), dtype=torch.int64))
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    return loss.detach().numpy(), slope.numpy()


def _on_logits() -> list[str]:
    from lossbench.losses import LOSSES

    return [name for name, entry in LOSSES.items() if entry.takes == "logits"]
