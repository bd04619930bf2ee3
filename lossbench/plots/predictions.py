"""What a model predicted, and numbers in cells: confusion, reliability, classes, images, embeddings, class trees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import ArrayLike

from lossbench.data.trees import Tree, check_tree, depth, path, root
from lossbench.plots.style import (
    BLUE,
    FIGURE_FONT,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    axes,
    fold,
    legend,
    settle,
    styles_of,
    titles_of,
)


def confusion_matrix(
    matrix: ArrayLike, class_names: Sequence[str], ax: Any = None, title: str = "", digits: int = 0
) -> Any:
    """Draw a confusion matrix, rows true, columns predicted, each cell in percent of its row.

    Args:
        matrix: (classes, classes), as `metrics.confusion_matrix(..., "true")` gives it; cells that would be
            printed as 0 are left empty, a row without samples says so.
        class_names: one name a class.
    """
    import seaborn

    ax = axes(ax)
    shares = np.asarray(matrix, dtype=float)
    if shares.shape != (len(class_names), len(class_names)):
        raise ValueError(f"matrix {shares.shape} does not fit {len(class_names)} class names")
    seaborn.heatmap(
        np.sqrt(shares), vmin=0, vmax=1, cmap=_colours(None), mask=~(np.round(100 * shares, digits) > 0), ax=ax,
        annot=100 * shares, fmt=f".{digits}f", annot_kws={"fontsize": FIGURE_FONT - 1}, cbar=False, square=True,
        xticklabels=list(class_names), yticklabels=list(class_names), linewidths=0.3, linecolor=GREY,
    )  # fmt: skip
    ax.tick_params(axis="x", labelrotation=90)
    ax.tick_params(axis="y", labelrotation=0)
    return settle(ax, title, "predicted class", "true class")


def reliability(table: pd.DataFrame, ax: Any = None, title: str = "") -> Any:
    """Draw accuracy against confidence, a bar a bin of `metrics.reliability_table`.

    The dashed diagonal is perfect calibration. A dot stands at the mean confidence of its bin and is as large as the
    bin's share of the images, so that one of few images, whose accuracy is mostly chance, is small.
    """
    ax = axes(ax)
    filled = table[table["count"] > 0]
    width = (filled["upper"] - filled["lower"]).to_numpy()
    share = (filled["count"] / filled["count"].sum()).to_numpy(dtype=float)
    look = {"align": "edge", "color": BLUE, "alpha": 0.3, "edgecolor": INK, "lw": 0.6}
    ax.bar(filled["lower"], filled["accuracy"], width, **look)
    ax.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=0.9)
    ax.annotate("calibrated", (0.16, 0.19), rotation=45, rotation_mode="anchor", fontsize=FIGURE_FONT - 1, color=INK)
    ax.scatter(filled["confidence"], filled["accuracy"], s=3 + 220 * share, color=INK, zorder=3)
    for x, y, part in zip(filled["confidence"], filled["accuracy"], share, strict=True):
        if part >= 0.05:
            away = 1 if y < x < 0.9 else -1  # from the diagonal, and inside the frame
            text = {"xytext": (away * (4 + 6 * part), -away * (6 + 5 * part)), "textcoords": "offset points"}
            text |= {"ha": "left" if away > 0 else "right", "va": "top" if away > 0 else "baseline"}
            ax.annotate(f"{100 * part:.0f} %", (x, y), **text, fontsize=FIGURE_FONT - 1.5, color=INK)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.02)
    return settle(ax, title, "confidence (dots: share of the images)", "accuracy")


def reliability_curves(table: pd.DataFrame, ax: Any = None, title: str = "", least: int = 20) -> Any:
    """Draw accuracy against confidence, a line a loss; on the dashed diagonal a model is as sure as it is right.

    Args:
        table: rows with `loss label count confidence accuracy`, a row a bin of each loss's runs together.
        least: bins with fewer images are left out; their accuracy is mostly chance.
    """
    ax = axes(ax)
    styles, titles = styles_of(table), titles_of(table)
    ax.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=0.9)
    for label, style in styles.items():
        rows = table[(table["label"] == label) & (table["count"] >= least)]
        look = {"color": style.colour, "linestyle": style.line, "marker": style.marker}
        ax.plot(rows["confidence"], rows["accuracy"], **look, markersize=3.2, linewidth=1.2, label=titles[label])
    legend(ax, len(styles), "upper left")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.grid(color=GREY, alpha=0.25, linewidth=0.6)
    return settle(ax, title, "confidence", "accuracy")


def by_class(table: pd.DataFrame, ax: Any = None, unit: str = "", title: str = "") -> Any:
    """Draw one number a class and loss: a row a class, a mark a loss with its interval.

    Args:
        table: rows with `loss label class mean low high`, classes in the order of the rows to draw.
    """
    ax = axes(ax)
    styles, titles = styles_of(table), titles_of(table)
    classes = list(dict.fromkeys(table["class"]))
    for index, (label, style) in enumerate(styles.items()):
        rows = table[table["label"] == label].set_index("class").reindex(classes)
        at = np.arange(len(classes)) + 0.7 * ((index + 0.5) / len(styles) - 0.5)
        ax.hlines(at, rows["low"], rows["high"], color=style.colour, linewidth=1.1, alpha=0.75)
        look = {"color": style.colour, "markersize": 3.8, "markeredgecolor": INK, "markeredgewidth": 0.4}
        ax.plot(rows["mean"], at, style.marker, **look, label=titles[label])
    for edge in np.arange(len(classes) - 1) + 0.5:
        ax.axhline(edge, color=GREY, linewidth=0.4, alpha=0.5)
    ax.set_yticks(range(len(classes)), classes)
    ax.set_ylim(len(classes) - 0.5, -0.5)
    ax.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.6)
    legend(ax, len(styles), "below")
    return settle(ax, title, unit)


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
    if ax is None:
        ax = axes()
        ax.figure.set_size_inches(1.25 * across, 1.25 * down)
    for index, picture in enumerate(stack):
        row, column = divmod(index, columns)
        left, top = column * (1 + gap), row * (1 + gap + room) + room
        ax.imshow(_shown(picture), cmap="gray", extent=(left, left + 1, top + 1, top), interpolation="nearest")
        if captions:
            middle = (left + 0.5, top - 0.04)
            ax.annotate(captions[index], middle, ha="center", va="bottom", fontsize=FIGURE_FONT, color=INK)
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


def _shown(picture: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(C, H, W) numbers as (H, W) or (H, W, 3) between 0 and 1."""
    values = picture.astype(float)
    low, high = (0.0, 255.0) if picture.dtype == np.uint8 else (values.min(), values.max())
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return scaled[0] if len(scaled) == 1 else scaled.transpose(1, 2, 0)


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


PALE = "#f6f5f2"


def heat_map(
    table: pd.DataFrame,
    ax: Any = None,
    title: str = "",
    centre: float | None = None,
    reach: float | None = None,
    digits: int = 2,
    marks: pd.DataFrame | None = None,
    letters: int = 30,
) -> Any:
    """Draw a table as coloured cells with their numbers; a missing cell stays empty.

    Args:
        table: numbers; its index names the rows, its columns the columns.
        centre: None colours from pale (lowest) to dark (highest). A number colours what lies above it blue, what
            lies below it red, equally strongly, and writes the sign.
        reach: with `centre`, the distance from it at which the colour is full; the largest in the table by default.
        digits: decimals in the cells.
        marks: a text to set behind the number of each cell, of the same shape.
        letters: of a row's name in one line.
    """
    import seaborn

    ax = axes(ax)
    values = table.to_numpy(dtype=float)
    missing = ~np.isfinite(values)
    texts = np.array([[_text(value, centre, digits) for value in row] for row in values], dtype=object)
    marked = np.full(values.shape, "") if marks is None else marks.to_numpy(dtype=str)
    # Transparent where nothing is: the dash is written in grey.
    seaborn.heatmap(
        values, **_scale(values[~missing], centre, reach), cmap=_colours(centre), mask=missing, ax=ax,
        annot=texts + marked.astype(object), fmt="", annot_kws={"fontsize": FIGURE_FONT - 1}, cbar=False,
        xticklabels=[fold(name, 20) for name in table.columns],
        yticklabels=[fold(name, letters) for name in table.index], linewidths=1, linecolor="white",
    )  # fmt: skip
    if marks is not None:
        for text, mark in zip(ax.texts, marked[~missing], strict=True):
            text.set_fontweight("bold" if mark else "normal")
    for row, column in np.argwhere(missing):
        ax.annotate("–", (column + 0.5, row + 0.5), ha="center", va="center", fontsize=FIGURE_FONT - 1, color=GREY)
    settle(ax, title)
    upright = values.shape[1] > 4 or max(map(len, map(str, table.columns)), default=0) > 24
    ax.tick_params(axis="x", labelrotation=90 if upright else 0)
    ax.tick_params(axis="y", labelrotation=0)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def _text(value: float, centre: float | None, digits: int) -> str:
    rounded = round(float(value), digits) + 0.0  # no minus zero
    text = f"{rounded:+.{digits}f}" if centre is not None and rounded != centre else f"{rounded:.{digits}f}"
    return text.replace("-", "−")


def _scale(values: np.ndarray, centre: float | None, reach: float | None) -> dict[str, float]:
    """The values at the two ends of the colours."""
    if not len(values):
        return {"vmin": 0, "vmax": 1}
    if centre is None:
        return {"vmin": values.min(), "vmax": values.max()}
    reach = reach or np.abs(values - centre).max() or 1.0
    return {"vmin": centre - reach, "vmax": centre + reach}


def _colours(centre: float | None) -> Any:
    stops: Sequence[str] = (PALE, BLUE) if centre is None else (VERMILLION, PALE, BLUE)
    return LinearSegmentedColormap.from_list("lossbench", stops)


BELOW = {"fontsize": FIGURE_FONT - 0.5, "ha": "center", "va": "center"}
COVER = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "none"}


def class_tree(
    tree: Tree,
    ax: Any = None,
    title: str = "",
    numbers: Mapping[str, float] | None = None,
    digits: int = 2,
    to: str | None = None,
) -> Any:
    """Draw a tree: a column a level, a row a class, siblings beside each other.

    Args:
        tree: `{parent: [children]}`, such as `lossbench.data.trees.TREES["cifar-10"].children`.
        numbers: written behind the names of nodes; nodes without one have none.
        digits: decimals of the numbers.
        to: a node; the way from the root to it is drawn in bold and colour.

    Raises:
        ValueError: `tree` is none, `numbers` names nodes that it does not have, or `to` is not among its nodes.
    """
    tree = check_tree(tree)
    places = {node: (float(depth(tree, node)), row) for node, row in _rows(tree)}
    if extra := [node for node in numbers or {} if node not in places]:
        raise ValueError(
            f"numbers has {', '.join(map(repr, extra))}, which the tree has not; it has {', '.join(places)}"
        )
    way = set(path(tree, to)) if to is not None else set()
    ax = axes(ax)
    for parent, children in tree.items():
        for child in children:
            look = {"color": BLUE, "linewidth": 2.2} if child in way else {"color": GREY, "linewidth": 0.9}
            _branch(ax, places[parent], places[child], look, zorder=2 if child in way else 1)
    for node, place in places.items():
        text = f"{node} {numbers[node]:.{digits}f}" if numbers and node in numbers else node
        look = {"color": BLUE, "fontweight": "bold"} if node in way else {"color": INK}
        ax.annotate(text, place, **BELOW, bbox=COVER, zorder=3, **look)
    rows = [row for _, row in places.values()]
    ax.set_xlim(-0.4, max(column for column, _ in places.values()) + 0.55)
    ax.set_ylim(max(rows) + 0.6, min(rows) - 0.6)
    settle(ax, title)
    ax.set_axis_off()
    return ax


def _rows(tree: Tree) -> Iterator[tuple[str, float]]:
    """Every node with its row: classes from 0 on, so that no branches cross, a parent amid its children."""
    rows: dict[str, float] = {}
    classes = 0
    waiting = [root(tree)]
    while waiting:
        node = waiting[-1]
        children = tree.get(node, ())
        if missing := [child for child in reversed(children) if child not in rows]:
            waiting += missing
            continue
        rows[node] = (rows[children[0]] + rows[children[-1]]) / 2 if children else float(classes)
        classes += not children
        yield waiting.pop(), rows[node]


def _branch(
    ax: Any, start: tuple[float, float], end: tuple[float, float], look: Mapping[str, Any], zorder: int
) -> None:
    middle = (start[0] + end[0]) / 2
    ax.plot([start[0], middle, middle, end[0]], [start[1], start[1], end[1], end[1]], zorder=zorder, **look)
