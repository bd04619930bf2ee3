"""Records as they should not be, fed to the report: every edit and pair of edits; each page is whole and says so."""

from __future__ import annotations

import copy
import html
import re
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browsing import Page

from conftest import write_run
from lossbench import RunConfig, claims, report
from lossbench.records import tables as records
from lossbench.report import evidence

Row = dict[str, Any]
Rows = dict[str, list[Row]]

LOSSES = (("cross_entropy", {}), ("kl_divergence", {}), ("focal", {"gamma": 2.0}), ("mse", {}), ("triplet", {}))
SCORES = ("test_accuracy", "test_nll", "val_accuracy", "test_ece", "test_macro_f1", "test_recall_at_1")
OPTIONAL = (  # what the records of some version lack
    *("test_images", "train_images", "num_parameters", "device", "threads", "commit", "dataset_fingerprint"),
    *("epoch_seconds", "epochs_done", "peak_memory_mb", "versions", "events", "class_names", "val_accuracy"),
    *("test_ece", "test_macro_f1", "label_noise", "imbalance", "augmentation", "selection", "patience", "precision"),
)
NAMES = (
    "nan",
    "inf loss",
    "<b>bold</b>",
    "$x^2$",
    "a|b",
    "{{ runs }}",
    "猫",
    "x" * 90,
    "100 %",
    "&amp;",
    "_",
    "No one's",
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """What is read of the records of five losses, two probability functions and three seeds."""
    folder = tmp_path_factory.mktemp("base")
    for loss, params in LOSSES:
        for probability in ("softmax", "taylor_softmax"):
            for seed in range(3):
                config = RunConfig(loss=loss, loss_params=params, probability=probability, seed=seed, epochs=3)
                write_run(folder, config, images=100, all_scores=seed == 0)
    tables = ("runs", "history", "confusion", "reliability", "folds")
    return records.live_rows(folder, tables, records.Damages("raise"))[0]


# Edits of the runs of one study, which they change in place or choose from.


def all_diverged(runs: list[Row], rng: np.random.Generator) -> None:
    for run in runs:
        run |= {"status": "diverged", "best_epoch": None, **dict.fromkeys(SCORES)}


def some_diverged(runs: list[Row], rng: np.random.Generator) -> None:
    all_diverged([run for run in runs if rng.random() < 0.4], rng)


def one_loss_diverged(runs: list[Row], rng: np.random.Generator) -> None:
    all_diverged([run for run in runs if run["loss"] == runs[-1]["loss"]], rng)


def one_run(runs: list[Row], rng: np.random.Generator) -> None:
    del runs[1:]


def one_seed(runs: list[Row], rng: np.random.Generator) -> None:
    runs[:] = [run for run in runs if run["seed"] == runs[0]["seed"]]


def no_cross_entropy(runs: list[Row], rng: np.random.Generator) -> None:
    runs[:] = [run for run in runs if run["loss"] != "cross_entropy"] or runs[:1]


def only_cross_entropy(runs: list[Row], rng: np.random.Generator) -> None:
    runs[:] = [run for run in runs if run["loss"] == "cross_entropy"] or runs[:1]


def no_shared_seed(runs: list[Row], rng: np.random.Generator) -> None:
    for run in runs:
        run["seed"] += 10 * (run["loss"] != "cross_entropy")


def zero_spread(runs: list[Row], rng: np.random.Generator) -> None:
    value = float(rng.choice([0.0, 0.1, 0.9, 1.0]))
    for run in runs:
        run |= dict.fromkeys(SCORES, value)


def no_scores(runs: list[Row], rng: np.random.Generator) -> None:
    for run in runs:
        run |= dict.fromkeys(rng.choice(SCORES, size=3))


def old_records(runs: list[Row], rng: np.random.Generator) -> None:
    missing = rng.choice(OPTIONAL, size=rng.integers(1, len(OPTIONAL)), replace=False)
    for run in runs if rng.random() < 0.5 else runs[::2]:
        for name in missing:
            run.pop(name, None)


def odd_names(runs: list[Row], rng: np.random.Generator) -> None:
    new = dict(zip([loss for loss, _ in LOSSES[1:]], rng.permutation(NAMES), strict=False))
    for run in runs:
        if run["loss"] in new:
            run["loss"] = run["label"] = str(new[run["loss"]])


def odd_numbers(runs: list[Row], rng: np.random.Generator) -> None:
    for run in runs:
        run |= {"seconds": float(rng.choice([0.0, 1e-9, 1e7])), "test_nll": float(rng.choice([0.0, 1e300]))}


Edit = Callable[[list[Row], np.random.Generator], None]
EDITS: tuple[Edit, ...] = (
    *(all_diverged, some_diverged, one_loss_diverged, one_run, one_seed, no_cross_entropy, only_cross_entropy),
    *(no_shared_seed, zero_spread, no_scores, old_records, odd_names, odd_numbers),
)
# One after the other in either order, and each alone: 91 studies.
CHOICES = [(edit,) for edit in EDITS] + [
    pair if number % 2 else pair[::-1] for number, pair in enumerate(combinations(EDITS, 2))
]
PAGES = 4


def edited(base: Rows, rng: np.random.Generator, number: int, edits: tuple[Edit, ...]) -> Rows:
    """Some runs of the base, as another study with its own learning rate, edited."""
    losses = rng.choice([loss for loss, _ in LOSSES], size=rng.integers(1, 4), replace=False)
    losses = {"cross_entropy", *losses} if rng.random() < 0.8 else set(losses)
    functions = ("softmax", "taylor_softmax")[: 1 + (rng.random() < 0.2)]
    seeds = int(rng.integers(1, 4))
    runs = [
        copy.copy(run)
        for run in base["runs"]
        if run["loss"] in losses and run["probability"] in functions and run["seed"] < seeds
    ]
    for edit in edits:
        edit(runs, rng)
    ids = {run["run_id"]: f"{run['run_id']}-{number}" for run in runs}
    with_predictions = rng.random() < 0.7
    rows = {
        name: [{**row, "run_id": ids[row["run_id"]]} for row in base[name] if row["run_id"] in ids]
        if name == "history" or with_predictions
        else []
        for name in base
        if name != "runs"
    }
    dataset = str(rng.choice(["shapes"] * 6 + ["fashion-mini", "nan & <i>"]))
    own = {"lr": 0.001 * (number + 1), "dataset": dataset}
    return {"runs": [{**run, **own, "run_id": ids[run["run_id"]]} for run in runs], **rows}


# Numbers that are none, what Python calls nothing, and a count with digits after the point.
FORBIDDEN = re.compile(r"(?<![\w.])[+−-]?(nan|inf|NaT|None|NaN|<NA>)(?![\w-])|\b\d+\.\d+ values\b|\{\{|\{%")


def words_of(text: str) -> str:
    """What the page shows: its text, and that of its pictures."""
    return html.unescape(re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)))


@pytest.fixture
def page_of(base: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Build the page of some edited studies; figures are their texts, or are drawn but not written."""
    from matplotlib.figure import Figure as Canvas

    def build(studies: list[Rows], *, draw: bool) -> str:
        def show(figure: Any, folder: Path, kinds: Any) -> list[str]:
            for panel in figure.panels if draw else ():
                panel.draw(ax=Canvas().subplots())
            return [f"<b>{html.escape(panel.alt)}</b>" for panel in figure.panels]

        rows: Rows = {name: [row for study in studies for row in study[name]] for name in base}
        monkeypatch.setattr(
            records, "live_rows", lambda folder, tables, *_: ({t: rows[t] for t in ["runs", *tables]}, [])
        )
        monkeypatch.setattr(report.page.drawing, "draw", show)
        return report.build(tmp_path).read_text(encoding="utf-8")

    about = {"versions": {"torch": ["2.11"]}, "datasets": {}}
    monkeypatch.setattr(evidence, "_describe", lambda output, runs: about)
    nothing = dict.fromkeys(claims.COLUMNS, "") | {"paper": "000", "verdict": "not tested", "group": "runs"}
    table = pd.DataFrame([nothing | dict.fromkeys(("estimate", "low", "high", "n", "needed"), np.nan)])
    monkeypatch.setattr(report, "decide", lambda tables, plans: table)
    return build


def require_whole(text: str, studies: list[Rows]) -> None:
    page = Page(text)
    assert page.open == []
    assert page.outside == []
    assert set(page.links) <= set(page.ids)
    shown = words_of(text)
    for name in (*NAMES, "nan & <i>"):  # a loss may be called nan
        shown = shown.replace(name, "")
    assert (wrong := FORBIDDEN.search(shown)) is None, shown[max(0, wrong.start() - 80) : wrong.end() + 40]
    runs = [run for study in studies for run in study["runs"]]
    if all(run["status"] == "diverged" for run in runs):
        assert "diverged" in shown[: shown.index("Contents")]


@pytest.mark.parametrize("page", range(PAGES))
def test_pages_of_many_edited_studies_are_whole(page: int, base: Rows, page_of: Any) -> None:
    rng = np.random.default_rng(page)
    studies = [edited(base, rng, number, edits) for number, edits in enumerate(CHOICES[page::PAGES])]
    require_whole(page_of(studies, draw=False), studies)


@pytest.mark.parametrize("edit", EDITS)
def test_a_page_of_one_edited_study_is_whole_and_its_figures_can_be_drawn(edit: Edit, base: Rows, page_of: Any) -> None:
    studies = [edited(base, np.random.default_rng(EDITS.index(edit)), 0, (edit,))]
    require_whole(page_of(studies, draw=True), studies)
