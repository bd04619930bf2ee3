"""What the models of one setting predicted: mistakes, confidence, classes, severity."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from lossbench import plots, stats
from lossbench.claims.wording import number
from lossbench.report.drawing import Figure, Panel
from lossbench.report.evidence import Evidence
from lossbench.report.panels import MOST_LOSSES, legend_room
from lossbench.report.tables import Table
from lossbench.report.text import say, span

LARGEST_MATRIX = 9.0  # inches
MOST_CLASSES = 30  # more make rows too thin to tell apart


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


def confusion(evidence: Evidence) -> Figure | None:
    """The best run's confusion matrix; None without its predictions."""
    best = best_run(evidence)
    matrix = None if best is None else counts(evidence, best["run_id"])
    if best is None or matrix is None:
        return None
    names, total = names_of(evidence, len(matrix)), int(matrix.sum())
    with np.errstate(invalid="ignore"):
        shares = matrix / matrix.sum(axis=1, keepdims=True)
    worst = np.nan_to_num(shares - np.diag(np.diag(shares)))
    row, column = np.unravel_index(int(worst.argmax()), worst.shape)
    mistake = {"share": worst[row, column], "true": names[row], "predicted": names[column]}
    chosen = "validation" if np.isfinite(float(best["val_accuracy"] or np.nan)) else "test"
    title = evidence.titles[best["label"]]
    caption = say("figure_confusion", best=best, title=title, chosen=chosen, total=total, mistake=mistake)
    alt = f"Confusion matrix of {len(names)} classes. " + say("mistake_sentence", mistake=mistake)
    size = min(LARGEST_MATRIX, 1.6 + 0.24 * len(names))
    draw = partial(plots.confusion_matrix, shares, names)
    return Figure(f"{evidence.slug}-confusion", caption, [Panel(draw, alt)], size, size)


def reliability(evidence: Evidence) -> Figure | None:
    """Accuracy against confidence, a line a loss, a panel a probability function."""
    panels = []
    for label, runs in evidence.by_probability() if len(evidence.reliability) else ():
        labels = list(dict.fromkeys(runs["label"]))[:MOST_LOSSES]
        table = pool_reliability(evidence.reliability, runs[runs["label"].isin(labels)])
        if len(table):
            gaps = [
                f"{evidence.titles[str(name)]} {_gap(part)} points" for name, part in table.groupby("label", sort=False)
            ]
            alt = f"Reliability diagram with {label}. Mean confidence minus accuracy: {', '.join(gaps)}."
            panels.append(Panel(partial(plots.reliability_curves, table, title=label), alt))
    if not panels:
        return None
    height = 3.2 + legend_room(evidence.runs)
    return Figure(
        f"{evidence.slug}-reliability",
        say("figure_reliability", left_out=evidence.runs["label"].nunique() - MOST_LOSSES),
        panels,
        height,
    )


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


def false_positives(evidence: Evidence) -> tuple[Figure, Table] | None:
    """Images wrongly given to each class, a mark a loss, under the first probability function."""
    function, runs = evidence.by_probability()[0]
    table = false_positive_table(evidence, runs)
    if table.empty or table["class"].nunique() > MOST_CLASSES or table["label"].nunique() < 2:
        return None
    labels = list(dict.fromkeys(table["label"]))
    drawn = table[table["label"].isin(labels[:MOST_LOSSES])]
    sums = drawn.groupby("label", sort=False)["mean"].sum()
    alt = f"Images wrongly given to each class with {function}, a row a class. In all: " + ", ".join(
        f"{evidence.titles[str(name)]} {value:.0f}" for name, value in sums.items()
    )
    left_out = len(labels) - drawn["label"].nunique()
    caption = say("figure_classes", function=function, runs=span(table["n"]), left_out=left_out)
    height = 1.2 + 0.3 * drawn["class"].nunique() + 0.12 * drawn["label"].nunique()
    draw = partial(plots.by_class, drawn, unit="images wrongly given to the class")
    figure = Figure(f"{evidence.slug}-classes", caption, [Panel(draw, alt + ".")], height, 5.2)
    means = drawn.pivot_table(index="class", columns="label", values="mean", sort=False).rename(columns=evidence.titles)
    text = means.map(lambda mean: number(mean, 1)).reset_index().rename_axis(columns=None)
    return figure, Table(f"{evidence.slug}-classes", say("table_classes", function=function), table, text)


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
    table = pd.DataFrame(rows, columns=["loss", "label", "class", "n", "mean", "low", "high"])
    # The class that is wrongly named most often comes first.
    return table.sort_values("class", key=lambda c: -c.map(table.groupby("class")["mean"].sum()), kind="stable")


def severity(evidence: Evidence) -> Figure | None:
    """How far mistakes lie on the class tree, and how many are critical, under the first probability function."""
    function, runs = evidence.by_probability()[0]
    panels = []
    for metric, name, scale, unit in SEVERITY:
        if metric not in runs or not runs[metric].notna().any():
            continue
        rows = stats.summarise(runs, metric).to_dict("records")
        shown = [f"{evidence.titles[row['label']]} {scale * row['mean']:.2f} (n={row['n']})" for row in rows]
        draw = partial(plots.score, runs, metric=metric, title=name, scale=scale, unit=unit, least=0.0)
        panels.append(Panel(draw, f"{name} with {function}: {', '.join(shown)}."))
    if not panels:
        return None
    height = 0.8 + 0.34 * runs["label"].nunique()
    return Figure(f"{evidence.slug}-severity", say("figure_severity", function=function), panels, height)


SEVERITY = (
    ("test_tree_distance", "Distance on the tree", 1.0, "edges"),
    ("test_critical_error", "Critical errors", 100.0, "of the test images, %"),
)
