"""The demo, small: what it says before, meanwhile and at the end, and what it leaves."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from conftest import Command
from lossbench.records.tables import load_runs
from lossbench.stats import compare
from lossbench.studies import demo


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(
        demo, "SETTINGS", {"dataset": "shapes", "epochs": 1, "train_size": 40, "embedding_scores": False}
    )
    monkeypatch.setattr(demo, "LOSSES", demo.LOSSES[:2])
    monkeypatch.setattr(demo, "SEEDS", 3)
    return tmp_path / "out"


def test_the_first_comparison_is_planned_first_and_every_loss_meets_cross_entropy_under_its_seed() -> None:
    configs = demo.plan_demo()
    first = {(config.loss, config.label_noise) for config in configs[: 2 * demo.SEEDS]}
    assert first == {("cross_entropy", demo.WRONG), (demo.LOSSES[0][0], demo.WRONG)}
    pairs = {(config.loss, config.label_noise, config.seed) for config in configs}
    assert len(pairs) == len(configs) == 2 * demo.SEEDS * (1 + len(demo.LOSSES))


@pytest.mark.usefixtures("forked_workers")
def test_the_demo_draws_its_first_comparison_begins_the_report_and_ends_with_the_words_of_the_engine(
    small: Path, command: Command
) -> None:
    before = command("demo", "--dry-run")
    assert before.returncode == 0
    assert "18 times" in before.stdout
    assert str(small / "report.html") in before.stdout
    assert not small.exists(), "a dry run leaves nothing"

    done = command("demo", "--workers", "2")
    assert done.returncode == 0
    text = done.stdout
    lines = text.splitlines()
    numbers = [int(match[1]) for line in lines if (match := re.match(r" *\d+ s +(\d+) of 18 ", line))]
    assert numbers == list(range(1, 19)), "a line a run"
    assert sum("left" in line for line in lines) == 17
    assert (
        text.index("First comparison") < text.index("the report has begun") < text.index("1. With 40 % wrong targets")
    )
    table = compare(load_runs(small)).query("label_noise == 0.4")
    for row in table.to_dict("records"):
        assert re.search(rf"^1\. .*{row['verdict']}: .*\({100 * row['mean']:+.1f} \[", text, re.MULTILINE)
    assert (small / "report.html").stat().st_size > 100_000
    assert set(load_runs(small)["test_nmi"].isna()) == {True}, "scores that nobody asked for are not computed"

    again = command("demo").stdout
    assert "18 of 18 runs finished, 18 of them earlier" in again
    assert again.index("First comparison") < again.index("1. With 40 % wrong targets")


def test_whoever_has_no_clone_is_sent_to_a_command_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"label_noise": 0.4, "loss": "focal", "verdict": "undecided", "mean": 0.0, "low": -0.1, "high": 0.1}
    assert "make explore" in demo.conclude(pd.DataFrame([row]), 5)
    monkeypatch.setattr(demo, "SHIPPED", tmp_path)
    text = demo.conclude(pd.DataFrame([row]), 5)
    assert "make " not in text
    assert " notebook copy && jupyter lab notebooks/01_quickstart.ipynb" in text


def test_the_picture_puts_each_pair_on_its_side_of_the_line() -> None:
    left, right = (demo._line("seed 0", {value: "o"}, 2.0, "") for value in (-2.0, 1.0))
    assert left.index("o") < left.index("|")
    assert right.index("|") < right.index("o")
    mean = demo._line("mean", {-0.5: "[", 1.5: "]", 0.5: "x"}, 2.0, "+0.50")
    assert re.search(r"\[-*\|-*x-*\]", mean)
