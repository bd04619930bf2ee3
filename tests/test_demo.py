"""The demo, small: what it says before, meanwhile and at the end, and what it leaves."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from lossbench.cli import main
from lossbench.records.tables import load_runs
from lossbench.stats import compare
from lossbench.studies import demo


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["lossbench", "demo", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return int(str(end.value.code or 0))


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
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "--dry-run", "--output", str(small)) == 0
    assert "18 times" in (before := capsys.readouterr().out)
    assert str(small / "report.html") in before
    assert not small.exists(), "a dry run leaves nothing"

    assert call(monkeypatch, "--workers", "2", "--output", str(small)) == 0
    text = capsys.readouterr().out
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

    assert call(monkeypatch, "--output", str(small)) == 0
    again = capsys.readouterr().out
    assert "18 of 18 runs finished, 18 of them earlier" in again
    assert again.index("First comparison") < again.index("1. With 40 % wrong targets")


def test_the_picture_puts_each_pair_on_its_side_of_the_line() -> None:
    left, right = (demo._line("seed 0", {value: "o"}, 2.0, "") for value in (-2.0, 1.0))
    assert left.index("o") < left.index("|")
    assert right.index("|") < right.index("o")
    mean = demo._line("mean", {-0.5: "[", 1.5: "]", 0.5: "x"}, 2.0, "+0.50")
    assert re.search(r"\[-*\|-*x-*\]", mean)
