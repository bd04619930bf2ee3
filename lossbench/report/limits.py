"""Name everything that keeps a setting from answering the question: (name, what it means)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pandas as pd

from lossbench import stats
from lossbench.report.evidence import Evidence


def limitations(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """All limitations of one setting."""
    yield from _about_cells(evidence)
    yield from _about_reference(set(evidence.runs["loss"]))
    yield from _about_endings(evidence.runs)
    yield from _about_records(evidence)
    yield from _about_protocol(evidence)


def _about_cells(evidence: Evidence) -> Iterator[tuple[str, str]]:
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


def _about_records(evidence: Evidence) -> Iterator[tuple[str, str]]:
    if evidence.damaged:
        count = len(evidence.damaged)
        records = "1 record of this folder" if count == 1 else f"{count} records of this folder"
        yield "Damaged records", f"{records} cannot be read and stay out: {'; '.join(evidence.damaged.values())}."
    done = evidence.runs[evidence.runs["status"] == "finished"]
    without = sorted(set(done["run_id"]) - set(evidence.confusion["run_id"]))
    if without:
        yield (
            "No predictions",
            f"{len(without)} of {len(done)} finished runs have no predictions on disk; the confusion matrix, the "
            "reliability diagram and the counts by class leave them out.",
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
