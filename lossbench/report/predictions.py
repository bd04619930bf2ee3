"""What the models of one setting predicted: mistakes, confidence, classes, severity."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from lossbench import plots, stats
from lossbench.claims.wording import number
from lossbench.report.evidence import Evidence
from lossbench.report.figures import Figure, Panel
from lossbench.report.panels import between, legend_room
from lossbench.report.tables import Table

LARGEST_MATRIX = 9.0  # inches
MOST_CLASSES = 30  # more make rows too thin to tell apart
MOST_LOSSES = 8


def best_run(evidence: Evidence) -> dict[Any, Any] | None:
    """The finished run with the highest validation accuracy, or test accuracy if there is no other.

    `function` in it is the label of its probability function.
    """
    runs = evidence.runs.assign(function=stats.probability_labels)
    done = runs[runs["status"] == "finished"]
    for column in ("val_accuracy", "test_accuracy"):
        values = done[column].astype(float)
        if values.notna().any():
            return done[values == values.max()].to_dict("records")[0]
    return None


def counts(evidence: Evidence, run_id: str) -> np.ndarray | None:
    """(classes, classes) test images of one run by true and predicted class; None if it has no predictions."""
    rows = evidence.confusion[evidence.confusion["run_id"] == run_id]
    if rows.empty:
        return None
    classes = max(len(evidence.class_names), 1 + int(rows[["true", "predicted"]].to_numpy().max()))
    matrix = np.zeros((classes, classes))
    matrix[rows["true"], rows["predicted"]] = rows["count"]
    return matrix


def names_of(evidence: Evidence, classes: int) -> list[str]:
    """The names of the classes, or their numbers where they are not known."""
    return evidence.class_names if len(evidence.class_names) == classes else [str(i) for i in range(classes)]


def confusion(evidence: Evidence) -> Iterator[Figure]:
    """The best run's confusion matrix; nothing without its predictions."""
    best = best_run(evidence)
    matrix = None if best is None else counts(evidence, best["run_id"])
    if best is None or matrix is None:
        return
    names, total = names_of(evidence, len(matrix)), int(matrix.sum())
    with np.errstate(invalid="ignore"):
        shares = matrix / matrix.sum(axis=1, keepdims=True)
    worst = np.nan_to_num(shares - np.diag(np.diag(shares)))
    row, column = np.unravel_index(int(worst.argmax()), worst.shape)
    said = f"The most frequent mistake: {100 * worst[row, column]:.0f} % of {names[row]} are taken for {names[column]}."
    chosen = "validation" if np.isfinite(float(best["val_accuracy"] or np.nan)) else "test"
    caption = (
        f"Confusion matrix of the run with the highest {chosen} accuracy: {best['label']}, "
        f"{best['function']}, seed {best['seed']}, test accuracy "
        f"{100 * best['test_accuracy']:.1f} % on {total} images (n = 1 run, no interval). Rows are true classes and "
        f"sum to 100 %, columns predicted ones; cells below 0.5 % are empty. {said}"
    )
    alt = f"Confusion matrix, {len(names)} classes. {said}"
    size = min(LARGEST_MATRIX, 1.6 + 0.24 * len(names))
    draw = partial(_matrix, shares, names)
    title = "Mistakes of the best run"
    yield Figure(f"{evidence.slug}-confusion", title, caption, [Panel(draw, alt)], size, size)


def _matrix(matrix: np.ndarray, names: list[str], ax: Any) -> Any:
    return plots.confusion_matrix(matrix, names, ax)


def reliability(evidence: Evidence) -> Iterator[Figure]:
    """Accuracy against confidence, a line a loss, a panel a probability function."""
    if evidence.reliability.empty:
        return
    panels = []
    for label, runs in evidence.by_probability():
        table = pool_reliability(evidence.reliability, runs)
        if table.empty:
            continue
        gaps = [
            f"{name} {_gap(part)} points"
            for name, part in table.groupby("label", sort=False)
            if part["count"].sum() > 0
        ]
        alt = f"Reliability diagram with {label}. Mean confidence minus accuracy: " + ", ".join(gaps) + "."
        panels.append(Panel(partial(_reliability, table, label), alt))
    caption = (
        "Accuracy against confidence (the largest probability) in 15 equally wide bins, test images of all runs of "
        "a loss together; bins with fewer than 20 images are left out. On the dashed line a model is as sure as it "
        "is right, below it too sure. Seeds are pooled, so there is no interval here; the expected calibration "
        "error in the table of scores has one."
    )
    if panels:
        height = 3.2 + legend_room(evidence.runs)
        yield Figure(f"{evidence.slug}-reliability", "Calibration", caption, panels, height)


def pool_reliability(bins: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The bins of all runs of a loss together: `loss label bin count confidence accuracy`, means weighted by count."""
    table = bins.merge(runs[["run_id", "loss", "label"]], on="run_id")
    table = table[table["count"] > 0].assign(
        confidence=lambda t: t["confidence"] * t["count"], accuracy=lambda t: t["accuracy"] * t["count"]
    )
    pooled = table.groupby(["loss", "label", "bin"], sort=False)[["count", "confidence", "accuracy"]].sum()
    for column in ("confidence", "accuracy"):
        pooled[column] /= pooled["count"]
    return pooled.reset_index().sort_values(["loss", "label", "bin"], kind="stable")


def _gap(part: pd.DataFrame) -> str:
    gap = float(np.average(part["confidence"] - part["accuracy"], weights=part["count"]))
    return number(100 * gap, 1, sign=True)


def _reliability(table: pd.DataFrame, title: str, ax: Any) -> Any:
    return plots.reliability_curves(table, ax, title)


def false_positives(evidence: Evidence) -> tuple[Figure, Table] | None:
    """Images wrongly given to each class, a mark a loss, under the first probability function."""
    label, runs = evidence.by_probability()[0]
    table = false_positive_table(evidence, runs)
    if table.empty or table["class"].nunique() > MOST_CLASSES or table["label"].nunique() < 2:
        return None
    kept = list(dict.fromkeys(table["label"]))[:MOST_LOSSES]
    drawn = table[table["label"].isin(kept)]
    sums = drawn.groupby("label", sort=False)["mean"].sum()
    alt = f"Images wrongly given to each class with {label}, a row a class. In all: " + ", ".join(
        f"{name} {value:.0f}" for name, value in sums.items()
    )
    dropped = table["label"].nunique() - len(kept)
    caption = (
        f"False positives: test images of another class given to this one, with {label}; mean over seeds and its 95 % "
        f"interval (Student's t, {between(table['n'])} runs a loss)."
        + (f" {dropped} more losses are in the table's files." if dropped else "")
    )
    height = 1.2 + 0.3 * drawn["class"].nunique() + 0.12 * len(kept)
    figure = Figure(
        f"{evidence.slug}-classes",
        "False positives",
        caption,
        [Panel(partial(_classes, drawn), alt + ".")],
        height,
        5.2,
    )
    shown = drawn.pivot_table(index="class", columns="label", values="mean", sort=False).reset_index()
    shown = shown.rename(columns={"class": "data"}).rename_axis(columns=None)
    text = shown.astype(object)
    for name in kept:
        text[name] = [number(x, 1) for x in shown[name]]
    title = f"False positives of each class with {label}, mean number of test images over seeds"
    return figure, Table(f"{evidence.slug}-classes", title, table, text.rename(columns={"data": "class"}))


def false_positive_table(evidence: Evidence, runs: pd.DataFrame) -> pd.DataFrame:
    """Columns `loss label class n mean low high`: wrong images given to each class, over the runs of a loss."""
    rows = []
    for (loss, label), part in runs.groupby(["loss", "label"], sort=False):
        found = [matrix for run_id in part["run_id"] if (matrix := counts(evidence, run_id)) is not None]
        if not found:
            continue
        wrong = np.array([matrix.sum(axis=0) - np.diag(matrix) for matrix in found])
        for place, name in enumerate(names_of(evidence, wrong.shape[1])):
            values = wrong[:, place]
            rows.append((loss, label, name, len(values), values.mean(), *stats.t_interval(values)))
    return pd.DataFrame(rows, columns=["loss", "label", "class", "n", "mean", "low", "high"])


def _classes(table: pd.DataFrame, ax: Any) -> Any:
    return plots.by_class(table, ax, "images wrongly given to the class")


def severity(evidence: Evidence) -> Iterator[Figure]:
    """How far mistakes lie on the class tree, and how many are critical, under the first probability function."""
    label, runs = evidence.by_probability()[0]
    panels = []
    for metric, name, scale, unit in SEVERITY:
        if metric not in runs or not runs[metric].notna().any():
            continue
        rows = stats.summarise(runs, metric).to_dict("records")
        said = ", ".join(f"{row['label']} {scale * row['mean']:.2f} (n={row['n']})" for row in rows)
        draw = partial(plots.score, runs, metric=metric, title=name, scale=scale, unit=unit)
        panels.append(Panel(draw, f"{name} with {label}: {said}."))
    caption = (
        f"How bad the mistakes are on the class tree, with {label}; the trees are reconstructions. Left: edges between "
        "the true and the predicted class, mean over all test images. Right: images taken for a class of another main "
        "branch, such as an animal for a vehicle. Each mark is one run; the upright line is the mean, the grey bar its "
        "95 % interval (Student's t over seeds; n at the right)."
    )
    if panels:
        height = 0.8 + 0.34 * runs["label"].nunique()
        yield Figure(f"{evidence.slug}-severity", "Severity of mistakes", caption, panels, height)


SEVERITY = (
    ("test_tree_distance", "Distance on the tree", 1.0, "edges"),
    ("test_critical_error", "Critical errors", 100.0, "of the test images, %"),
)
