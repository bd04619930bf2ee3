"""Read an output folder and name what is missing in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lossbench import metrics, records, stats
from lossbench.plots import in_order

FRACTION = 0.95
SPELLING = {
    "cross_entropy": "cross-entropy",
    "kl_divergence": "KL divergence",
    "js_divergence": "JS divergence",
    "mse": "MSE",
    "adma": "Adma",
}


@dataclass(frozen=True)
class Evidence:
    """One setting: its runs with the epochs each one needed, and their learning curves.

    Args:
        slug: a short name for files and links, such as `setting-1`.
        setting: name, shared fields, runs.
        history: a row an epoch of those runs, with `curve`, the accuracy that the epoch was chosen by.
        floor: the noise floor of the test accuracy.
    """

    slug: str
    setting: stats.Setting
    history: pd.DataFrame
    floor: stats.NoiseFloor

    @property
    def runs(self) -> pd.DataFrame:
        """The table of runs."""
        return self.setting.runs

    @property
    def judged_on(self) -> str:
        """Which images the learning curves and the choice of the epoch are about."""
        return "test" if self.setting.fields.get("selection") == "best_test" else "validation"

    def by_probability(self) -> list[tuple[str, pd.DataFrame]]:
        """The runs of each probability function with its label, in the order they are taught."""
        labels = stats.probability_labels(self.runs)
        return [(name, self.runs[labels == name]) for name in dict.fromkeys(labels)]


def gather(output: Path) -> list[Evidence]:
    """Read all finished runs, split them into settings, the largest first.

    Raises:
        ValueError: there are none.
    """
    runs = records.load_runs(output)
    if runs.empty:
        raise ValueError(
            f"no finished runs under {str(output / 'runs')!r}; make some with `lossbench study thesis "
            f"--dataset fashion-mini --seeds 3 --output {output}` or `lossbench run --output {output}`"
        )
    runs = in_order(runs)
    runs["label"] = [_spell(label) for label in runs["label"]]
    history = _with_curve(records.load_history(output))
    runs["epochs_to_95"] = runs["run_id"].map(
        history.groupby("run_id")["curve"].agg(lambda curve: metrics.epochs_to_reach(curve, FRACTION))
    )
    found = []
    for place, setting in enumerate(stats.settings(runs), start=1):
        # The table of runs knows the parameters of the probability function and how labels are written.
        names = setting.runs[["run_id", "probability_params", "label"]]
        curves = history.drop(columns="label").merge(names, on="run_id")
        found.append(Evidence(f"setting-{place}", setting, curves, stats.noise_floor(setting.runs)))
    return found


def _spell(label: str) -> str:
    """The label of a loss as prose writes it."""
    name, *rest = label.split(" ")
    return " ".join([SPELLING.get(name, name.replace("_", " ")), *rest])


def _with_curve(history: pd.DataFrame) -> pd.DataFrame:
    """Add `curve`: validation accuracy, or test accuracy where the epoch was chosen on the test images."""
    columns = [name for name in ("val_accuracy", "test_accuracy") if name in history]
    if not columns:
        return history.assign(curve=float("nan"))
    return history.assign(curve=history[columns].astype(float).bfill(axis=1).iloc[:, 0])


def limitations(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Name everything that keeps this setting from answering the question: (name, what it means)."""
    runs = evidence.runs
    cells = runs.assign(probability=stats.probability_labels(runs)).groupby(["probability", "label"])
    seeds = cells["seed"].nunique()
    losses, functions = runs["label"].nunique(), len(evidence.by_probability())
    if len(seeds) < losses * functions:
        yield (
            "Missing cells",
            f"{len(seeds)} of {losses * functions} combinations of loss and probability function have runs; "
            "the others are empty, not zero.",
        )
    if seeds.nunique() > 1:
        yield (
            "Unequal seeds",
            f"combinations have between {seeds.min()} and {seeds.max()} seeds. Means over different seeds "
            "are not paired; differences use only the seeds that both sides have.",
        )
    if seeds.max() == 1:
        yield (
            "One seed",
            "there is one run of each combination, so no interval and no noise floor. Add seeds.",
        )
    elif seeds.max() < 5:
        yield (
            "Few seeds",
            f"{seeds.max()} seeds at most: intervals are wide, and wide is right. Five or more narrow them fast.",
        )
    if losses == 1:
        yield "Only one loss", "there is nothing to compare it with."
    yield from _about_reference(set(runs["loss"]))
    yield from _about_endings(runs)
    yield from _about_protocol(evidence)


def _about_reference(losses: set[str]) -> Iterator[tuple[str, str]]:
    if "cross_entropy" not in losses:
        yield (
            "No cross-entropy",
            "there are no runs of the reference loss, so no differences and no noise floor.",
        )
    elif "kl_divergence" not in losses:
        yield (
            "No KL runs",
            "the noise floor comes from cross-entropy paired with itself under other seeds, which is the "
            "same computation.",
        )


def _about_endings(runs: pd.DataFrame) -> Iterator[tuple[str, str]]:
    lost = runs[runs["status"] != "finished"]
    if len(lost):
        names = Counter(
            f"{label} ({name})" for label, name in zip(lost["label"], stats.probability_labels(lost), strict=True)
        )
        listed = ", ".join(f"{count} × {name}" for name, count in names.items())
        yield (
            "Diverged runs",
            f"{len(lost)} of {len(runs)} runs did not finish: {listed}. They are counted beside every mean; "
            "the mean is over the others and flatters the loss, so no verdict is given there.",
        )
    unscored = runs[(runs["status"] == "finished") & runs["test_accuracy"].isna()]
    if len(unscored):
        yield (
            "Runs without a score",
            f"{len(unscored)} finished runs hold no test accuracy and enter no mean.",
        )


def _about_protocol(evidence: Evidence) -> Iterator[tuple[str, str]]:
    if evidence.judged_on == "test":
        yield (
            "Chosen on the test images",
            "the epoch was picked by test accuracy, as paper 000 did. The accuracies are optimistic; only "
            "their differences are comparable.",
        )
    for name in ("device", "threads", "commit", "dataset_fingerprint"):
        if name in evidence.runs and evidence.runs[name].astype(str).nunique() > 1:
            kinds = evidence.runs[name].astype(str).nunique()
            yield (
                f"Mixed {name.replace('_', ' ')}",
                f"the runs were made with {kinds} different values of it.",
            )


def result_of(output: Path, run_id: str) -> dict[str, Any]:
    """The whole result of one run, nested values included."""
    return records.Record(output / "runs" / run_id).result
