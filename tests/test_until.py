"""Studies until decided: which losses get more seeds, what is written down, and that a kill changes nothing."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from killing import Child, fork, pause, quick_workers, wait_for

import conftest
from conftest import THESIS, Command, write_run
from lossbench import RunConfig, load_runs, stats
from lossbench.records.declaration import declare, declared
from lossbench.records.record import Record
from lossbench.records.tables import find_records
from lossbench.studies.decisions import Decisions, run_until_decided
from lossbench.studies.execute import Summary
from lossbench.studies.plans import compare_losses, plan_losses, plan_study

PLAN = compare_losses(THESIS, seeds=20, base=RunConfig(epochs=2))


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> list[list[RunConfig]]:
    """Let invented records stand for training; what was asked for, look by look."""
    asked: list[list[RunConfig]] = []
    monkeypatch.setitem(conftest.SHIFTS, "js_divergence", -0.4)

    def write(configs: Sequence[RunConfig], output: Path, **how: Any) -> Summary:
        todo = [config for config in configs if not Record.of(config, output).finished]
        asked.append(list(configs))
        for config in todo:
            write_run(output, config, how.get("status", lambda config: "finished")(config), images=100)
        return Summary(len(configs), len(configs) - len(todo), len(todo))

    monkeypatch.setattr("lossbench.studies.decisions.run_configs", write)
    return asked


def seeds_by_label(output: Path) -> dict[str, int]:
    return load_runs(output).groupby("label")["seed"].nunique().to_dict()


def test_what_is_decided_stops_and_cross_entropy_goes_on_beside_what_is_open(
    invented: list[list[RunConfig]], tmp_path: Path
) -> None:
    decisions = run_until_decided(PLAN, tmp_path)
    by_label = decisions.table.set_index("label")
    assert by_label.loc["js_divergence", ["verdict", "look"]].to_list() == ["worse", 5], "40 points behind"
    assert by_label.loc["kl_divergence", "verdict"] == "same function"
    looks = by_label["look"].astype(object)
    seeds = seeds_by_label(tmp_path)
    for label in ("focal γ=0.5", "focal γ=2"):
        assert seeds[label] == (20 if pd.isna(looks[label]) else looks[label]) > 5
    assert (seeds["js_divergence"], seeds["kl_divergence"]) == (5, 5)
    assert seeds["cross_entropy"] == max(seeds.values())
    assert [max(config.seed for config in look) for look in invented] == [4, 9, 19][: len(invented)]
    assert decisions.summary.planned == decisions.summary.finished == len(list(find_records(tmp_path)))


def test_the_decisions_are_those_of_the_statistics_over_the_same_folder(
    invented: list[list[RunConfig]], tmp_path: Path
) -> None:
    table = run_until_decided(PLAN, tmp_path, margin=0.01).table
    pd.testing.assert_frame_equal(
        table.reset_index(drop=True), stats.sequential(load_runs(tmp_path), margin=0.01), check_dtype=False
    )
    written = pd.read_csv(tmp_path / "decisions.csv")
    assert written["label"].to_list() == table["label"].to_list()
    assert written["mean"].to_list() == pytest.approx(table["mean"].to_list(), abs=1e-12)


def test_seeds_are_a_cap_and_a_higher_one_goes_on_with_the_same_decisions(
    invented: list[list[RunConfig]], tmp_path: Path
) -> None:
    few = [config for config in PLAN if config.seed < 12]
    capped = run_until_decided(few, tmp_path / "a").table
    assert max(seeds_by_label(tmp_path / "a").values()) == 10, "the last look that 12 seeds allow"
    run_until_decided(PLAN, tmp_path / "a")
    run_until_decided(PLAN, tmp_path / "b")
    assert (tmp_path / "a" / "decisions.csv").read_bytes() == (tmp_path / "b" / "decisions.csv").read_bytes()
    assert capped.set_index("label").loc["js_divergence", "look"] == 5
    assert declared(tmp_path / "a")[0].added_after_looking == [], "the levels of the looks provide for them"


def test_a_loss_that_diverged_or_failed_gets_no_more_seeds_and_another_study_keeps_its_rows(
    invented: list[list[RunConfig]], tmp_path: Path
) -> None:
    def status(config: RunConfig) -> str:
        return "diverged" if config.loss == "focal" and config.seed == 2 else "finished"

    run_until_decided(PLAN, tmp_path, status=status)
    assert set(seeds_by_label(tmp_path).values()) == {5}
    other = [RunConfig.from_dict({**config.to_dict(), "lr": 0.01}) for config in PLAN if config.loss != "focal"]
    run_until_decided(other, tmp_path)
    written = pd.read_csv(tmp_path / "decisions.csv")
    assert written.groupby("lr").size().to_dict() == {0.001: 4, 0.01: 2}
    assert written.loc[written["loss"] == "focal", "limits"].str.contains("1 of 5 runs of focal").all()


def test_an_interrupted_look_is_not_judged(
    invented: list[list[RunConfig]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "lossbench.studies.decisions.run_configs", lambda configs, *_, **__: Summary(len(configs), interrupted=True)
    )
    decisions = run_until_decided(PLAN, tmp_path)
    assert (decisions.summary.exit_code, len(decisions.table)) == (130, 0)
    assert str(decisions) == "no look was taken"
    assert not (tmp_path / "decisions.csv").exists()


SMALL = plan_losses([("focal", {}), ("mse", {})], ["shapes"], 10, {"train_size": 60, "epochs": 1})


def start(output: Path, log: Path, engine: str = "process") -> Child:
    def study() -> None:
        quick_workers()
        decisions = run_until_decided(SMALL, output, engine=engine, workers=2, show_progress=False)
        sys.exit(decisions.summary.exit_code)

    return fork(study, log)


def test_a_study_that_is_killed_again_and_again_comes_to_the_same_decisions(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert start(tmp_path / "unbroken", log).wait() == 0, log.read_text()
    rng = random.Random(5)
    for moment in (2, 9, 15, 21):
        child = start(tmp_path / "killed", log)
        wait_for(lambda moment=moment: len(list(find_records(tmp_path / "killed"))) >= moment)
        pause(rng, 0.2)
        assert child.kill(), log.read_text()
    assert start(tmp_path / "killed", log).wait() == 0, log.read_text()
    one, other = (tmp_path / name / "decisions.csv" for name in ("unbroken", "killed"))
    assert one.read_bytes() == other.read_bytes()
    assert {r.path.name for r in find_records(one.parent)} == {r.path.name for r in find_records(other.parent)}
    assert not list((tmp_path / "killed").glob(".*.tmp"))


@pytest.mark.usefixtures("forked_workers")
def test_another_engine_comes_to_these_decisions(tmp_path: Path) -> None:
    few = [config for config in SMALL if config.seed < 3 and config.loss != "focal"]
    here = run_until_decided(few, tmp_path / "process", looks=[3], show_progress=False)
    there = run_until_decided(few, tmp_path / "ensemble", looks=[3], engine="ensemble", show_progress=False)
    assert here.summary.planned == there.summary.planned == there.summary.finished == 6
    columns = ["label", "n", "look", "verdict"]
    pd.testing.assert_frame_equal(here.table[columns], there.table[columns])


BAD = [
    ("thesis --until forever", "Invalid value for '--until'"),
    ("thesis --until decided --seeds 4", "4 seeds are fewer than the first look takes, 5 pairs"),
    ("thesis --until decided --shard 1/2", "give the same command without a shard on each machine"),
    ("thesis --until decided --set selection=best_test", "selection='best_test' chooses the epoch by the test images"),
    ("--loss cross_entropy --until decided", "losses are decided against cross_entropy; the plan has cross_entropy"),
    ("thesis --until decided --margin 0", "margin must lie between 0 and 100 points of accuracy, got 0.0"),
    ("thesis --margin nan", "margin must lie between 0 and 100 points of accuracy, got nan"),
]


@pytest.mark.parametrize(("line", "message"), BAD, ids=[row[0] for row in BAD])
def test_what_cannot_be_decided_is_refused_before_any_work(
    command: Command, tmp_path: Path, line: str, message: str
) -> None:
    code, _, said = command("study", *line.split())
    assert code == 2
    assert message in " ".join(said.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_a_plan_without_cross_entropy_is_refused(tmp_path: Path) -> None:
    plan = [config for config in PLAN if config.loss != "cross_entropy"]
    with pytest.raises(ValueError, match="decided against cross_entropy; the plan has focal, js_divergence"):
        run_until_decided(plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_dry_run_tells_the_cost_of_each_look_and_does_nothing(command: Command, tmp_path: Path) -> None:
    line = "study --loss mse --until decided --dataset shapes --epochs 1 --seeds 20 --dry-run"
    code, ids, said = command(*line.split())
    assert (code, len(ids.split())) == (0, 40)
    assert [line.split(" runs")[0] for line in said.splitlines() if line.startswith("until the look")] == [
        "until the look at 5 pairs: at most 10",
        "until the look at 10 pairs: at most 20",
        "until the look at 20 pairs: at most 40",
    ]
    assert not (tmp_path / "out").exists()


def test_the_command_line_prints_the_decisions_and_writes_what_was_declared(
    command: Command, invented: list[list[RunConfig]], tmp_path: Path
) -> None:
    line = "study layers --until decided --margin 1 --seeds 10 --epochs 2 --dataset fashion-mini"
    code, said, _ = command(*line.split())
    assert code == 0
    assert "after 5 pairs" in said
    assert "decided at" in said
    (entry,) = declared(tmp_path / "out")
    assert (entry.study, entry.sequential, entry.looks, entry.margin) == ("layers", True, [5, 10, 20, 40], 0.01)
    assert (len(entry.losses), entry.seeds, entry.finished_before) == (5, list(range(10)), 0)
    assert entry.setting["dataset"] == "fashion-mini"


def test_seeds_losses_margin_and_looks_that_come_after_the_first_scores_are_marked(tmp_path: Path) -> None:
    def plan(seeds: int, *losses: str) -> list[RunConfig]:
        return plan_losses([(name, {}) for name in losses], (), seeds, {"epochs": 2})

    declare(plan(3, "mse"), tmp_path, margin=0.005)
    declare(plan(5, "mse"), tmp_path, margin=0.005)
    (entry,) = declared(tmp_path)
    assert (entry.seeds, entry.added_after_looking) == ([0, 1, 2, 3, 4], []), "nothing had run yet"
    for config in plan(5, "mse"):
        write_run(tmp_path, config)
    declare(plan(5, "mse"), tmp_path, margin=0.005)
    declare(plan(3, "mse"), tmp_path, margin=0.005)
    assert declared(tmp_path)[0] == entry, "the same again, or less, is no addition"
    declare(plan(8, "mse", "focal"), tmp_path, margin=0.01)
    declare(plan(8, "mse", "focal"), tmp_path, margin=0.01)
    declare(plan(40, "mse"), tmp_path, margin=0.005, looks=stats.LOOKS)
    (after,) = declared(tmp_path)
    first, second = after.added_after_looking
    assert ([loss["label"] for loss in first.losses], first.seeds, first.margin) == (["focal γ=2"], [5, 6, 7], 0.01)
    assert (second.losses, second.seeds, second.margin) == ([], list(range(8, 40)), None)
    assert (first.looks, second.looks) == (None, list(stats.LOOKS))
    assert (after.seeds, after.looks, after.sequential) == ([0, 1, 2, 3, 4], None, False)


def test_a_study_declared_when_there_are_runs_already_says_how_many(tmp_path: Path) -> None:
    for config in PLAN[:3]:
        write_run(tmp_path, config)
    (entry,) = declare(PLAN[:5], tmp_path, margin=0.005)
    assert entry.finished_before == 3


def test_each_setting_of_a_study_has_a_declaration_and_its_fields_are_those_of_the_table(tmp_path: Path) -> None:
    plan = plan_study("noise", ["fashion-mini"], 1)
    entries = declare(plan, tmp_path, margin=0.005, study="noise")
    assert [entry.setting["label_noise"] for entry in entries] == [0.0, 0.2, 0.4]
    for config in plan:
        write_run(tmp_path, config)
    for setting in stats.settings(stats.merge_idle(load_runs(tmp_path))):
        fields = {name: None if pd.isna(value) else value for name, value in setting.fields.items()}
        assert fields in [entry.setting for entry in entries]


def test_a_damaged_declaration_is_named_with_the_remedy(tmp_path: Path) -> None:
    assert declared(tmp_path) == []
    declare(PLAN[:2], tmp_path, margin=0.005)
    path = tmp_path / "study-plan.json"
    for text in (path.read_text()[:-30], "[]", json.dumps({"settings": [{"seeds": 3}]})):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"study-plan\.json is damaged .* move it away"):
            declared(tmp_path)


def test_nothing_is_printed_where_nothing_was_decided() -> None:
    assert str(Decisions(pd.DataFrame(), Summary(0))) == "no look was taken"
