"""Every number that the five papers print, as tables; never mixed with measured runs.

A table has a row a value and the columns `source_file source_table dataset model pretrained optimizer
regularisation loss loss_params prob_fn prob_params class metric value unit epoch epochs_total qualifier note`.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from lossbench.registry import unknown

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DERIVED", "NAMES", "WITH_RUNS", "cells", "load", "runs"]

NAMES = tuple(sorted(f.name[:-4] for f in resources.files(__name__).iterdir() if f.name.endswith(".csv")))
WITH_RUNS = ("adma_tables_1_4", "fpl_tables_2_3", "thesis_figure_captions", "thesis_table_4_1")
DERIVED = tuple(f"thesis_table_4_{number}" for number in range(2, 7))  # computed by their author from Table 4.1

LOSSES = {
    "CCE": "cross_entropy",
    "CE": "cross_entropy",
    "KL": "kl_divergence",
    "JS": "js_divergence",
    "Focal": "focal",
    "Adma": "adma",
    "MSE": "mse",
    "SquaredHinge": "squared_hinge",
    "FPL": "false_positive",
}
DATASETS = {"cifar10": "cifar-10", "cifar100": "cifar-100"}
DATASETS |= {"skin cancer": "ham10000", "flower recognition": "flowers", "dogs vs. cats": "dogs-vs-cats"}
PARAMS = {"m=0.3": "margin=0.3"}
# Metric as printed -> (column of a table of runs, unit of that column in units of the print).
METRICS = {
    "best_test_accuracy": ("test_accuracy", 1.0),
    "best_accuracy_epoch": ("best_epoch", 1.0),
    "mean_validation_accuracy": ("val_accuracy", 0.01),
    "top1_accuracy": ("test_accuracy", 0.01),
    "top5_accuracy": ("test_top5", 0.01),
}
CONFIG = ["dataset", "model", "pretrained", "optimizer", "regularisation", "loss", "loss_params"]
CONFIG += ["prob_fn", "prob_params", "source_table"]


def load(name: str) -> pd.DataFrame:
    """Read one published table as it is; `value` stays text, since some tables hold words.

    Raises:
        ValueError: `name` is not in `NAMES`.
    """
    import pandas as pd

    if name not in NAMES:
        raise ValueError(unknown("published table", name, NAMES))
    with resources.as_file(resources.files(__name__) / f"{name}.csv") as path:
        return pd.read_csv(path, dtype=str, keep_default_na=False)


def runs(name: str) -> pd.DataFrame:
    """Read one published table in the shape of `load_runs`: a row a configuration, our names, fractions.

    The papers print one value a configuration, so `seed` is 0 throughout; `origin` is "published" and
    `source_table` says where it stands. Where a paper prints only false positives a class, the test accuracy
    is one minus their sum over the 10,000 test images.

    Raises:
        ValueError: there is no such table, or it holds no accuracies of single configurations.
    """
    if name in NAMES and name not in WITH_RUNS:
        raise ValueError(f"published table {name!r} holds no runs; choose from {', '.join(WITH_RUNS)}")
    return _runs(name).copy()


@cache
def _runs(name: str) -> pd.DataFrame:
    import pandas as pd

    table = load(name)
    rows = []
    for key, cell in table.groupby(CONFIG, sort=False):
        config = dict(zip(CONFIG, map(str, list(key)), strict=True))
        rows.append({**_named(config), **_scores(cell)})
    found = pd.DataFrame(rows)
    found["run_id"] = [f"{name}-{place}" for place in range(len(found))]
    for column in ("best_epoch", "test_accuracy", "val_accuracy", "epochs", "seconds"):
        if column not in found:
            found[column] = float("nan")
    return found.assign(seed=0, status="finished", origin="published")


def cells(name: str) -> pd.DataFrame:
    """Read the values of a derived table in our names, ready to stand beside what `lossbench.stats` derives.

    Returns: columns `metric` (`test_accuracy`, `best_epoch` or `overall`), `dataset` (`all` for sums), `loss`, `label`,
        `probability`, `first` and `second` (probability functions compared), empty where they say nothing, and
        `printed`.

    Raises:
        ValueError: `name` is not in `DERIVED`.
    """
    import pandas as pd

    if name not in DERIVED:
        raise ValueError(unknown("derived table", name, DERIVED))
    rows = []
    for row in load(name).to_dict("records"):
        loss = LOSSES.get(row["loss"], "")
        label = f"{loss} {row['loss_params'].replace('gamma', 'γ')}".strip()
        first, _, second = row["qualifier"].partition(" vs ") if " vs " in row["qualifier"] else ("", "", "")
        place = (_ranked_by(row["metric"]), row["dataset"].lower(), loss, label, row["prob_fn"], first, second)
        rows.append((*place, float(row["value"])))
    names = ["metric", "dataset", "loss", "label", "probability", "first", "second", "printed"]
    return pd.DataFrame(rows, columns=names)


def _ranked_by(metric: str) -> str:
    if metric.endswith("overall"):
        return "overall"
    return "test_accuracy" if metric.endswith("accuracy") else "best_epoch"


def _named(config: dict[str, str]) -> dict[str, str]:
    """A configuration in our names, with the label of its loss."""
    dataset = config["dataset"].lower()
    loss = LOSSES.get(config["loss"], config["loss"])
    params = config["loss_params"]
    # Adma's `a` was tuned for every cell and says nothing about which loss it is.
    label = loss if loss in ("adma", "false_positive") else f"{loss} {params.replace('gamma=', 'γ=')}".strip()
    return {
        "label": label,
        "dataset": DATASETS.get(dataset, dataset),
        "model": config["model"],
        "pretrained": config["pretrained"],
        "optimizer": config["optimizer"],
        "regularisation": config["regularisation"],
        "loss": loss,
        "loss_params": params,
        "probability": config["prob_fn"],
        "probability_params": PARAMS.get(config["prob_params"], config["prob_params"]),
        "source_table": config["source_table"],
    }


def _scores(cell: pd.DataFrame) -> dict[str, float]:
    scores = {}
    for metric, value in zip(cell["metric"], cell["value"], strict=True):
        if metric in METRICS:
            column, unit = METRICS[metric]
            scores[column] = float(value) * unit
    total = (cell["metric"] == "false_positives") & (cell["class"] == "TOTAL")
    false_positives = cell.loc[total, "value"].astype(float)
    if len(false_positives):
        scores["test_accuracy"] = 1 - float(false_positives.sum()) / 10_000
    return scores


# Length of the gradient on the logits beside cross-entropy's where ten classes are equally probable: a step of SGD from
# the start is as long as under cross-entropy with the learning rate divided by it.
FIRST_PULL = {"adma": 0.2475, "mse": 0.02, "squared_hinge": 0.04}
