"""Parts of a plan, and engines by name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lossbench import RunConfig
from lossbench.cli import main
from lossbench.config import grid
from lossbench.engines import run_configs
from lossbench.engines.shard import parse_shard, take_shard
from lossbench.records import find_records
from lossbench.study import plan_study

IMAGES = {"fashion-mnist": 60_000, "cifar-10": 50_000, "fashion-mini": 5_000}
PLANS: dict[str, list[RunConfig]] = {
    "thesis": plan_study("thesis", tuple(IMAGES), 5),
    "adma": plan_study("adma", ("fashion-mini",), 7),
    "short": grid(dataset=["fashion-mini"], seed=[0, 1, 2]),
}


def work(config: RunConfig) -> int:
    return config.epochs * (config.train_size or IMAGES[config.dataset])


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 16, 100])
def test_the_parts_are_the_plan_in_its_order_each_run_once(plan: list[RunConfig], count: int) -> None:
    parts = [take_shard(plan, f"{i}/{count}") for i in range(1, count + 1)]
    assert Counter(config for part in parts for config in part) == Counter(plan)
    for part in parts:
        assert [plan.index(config) for config in part] == sorted(plan.index(config) for config in part)


@pytest.mark.parametrize("count", [2, 3, 5, 8, 15])
@pytest.mark.parametrize("name", ["thesis", "adma"])
def test_the_parts_have_equal_work(name: str, count: int) -> None:
    loads = [sum(map(work, take_shard(PLANS[name], f"{i}/{count}"))) for i in range(1, count + 1)]
    heaviest = max(map(work, PLANS[name]))
    assert max(loads) <= max(1.1 * sum(loads) / count, sum(loads) / count + heaviest)


def test_runs_that_are_compared_stay_together_where_the_work_can_be_shared_so() -> None:
    for i in range(1, 6):
        part = take_shard(PLANS["thesis"], f"{i}/5")
        assert set(Counter((config.dataset, config.seed) for config in part).values()) == {15}


def test_a_part_is_run_alone_and_the_parts_make_the_study(tmp_path: Path) -> None:
    plan = grid(dataset=["shapes"], epochs=[1], train_size=[32], seed=range(3))
    first = run_configs(plan, tmp_path, shard="1/2", workers=1, show_progress=False)
    assert first.planned == len(take_shard(plan, "1/2")) == len(list(find_records(tmp_path)))
    again = run_configs(plan, tmp_path, shard="1/2", show_progress=False)
    assert (again.planned, again.skipped) == (first.planned, first.planned), "what is finished does not move a part"


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "-1/4", "a/b", "1/4/2", "1.5/4", "", "1/9999999", "²/4"])
def test_a_part_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"shard must be i/n with i from 1 to n, such as 1/4 for the first of four"):
        parse_shard(text)


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"engine": "proces"}, ValueError, "unknown engine 'proces'; did you mean 'process'?"),
    ({"engine": "process", "gpus": 1}, TypeError, "'process' does not take the option 'gpus'; it is for engine ray"),
    ({"engine": "papermill", "address": "auto"}, TypeError, "does not take the option 'address'; it is for engine ray"),
    ({"worker": 2}, TypeError, "does not take the option 'worker'; no engine does"),
    ({"shard": "3/2"}, ValueError, "got '3/2'"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "kind", "message"), BAD, ids=[str(row[0]) for row in BAD])
def test_what_an_engine_does_not_take_is_refused_before_any_work(
    tmp_path: Path, arguments: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as caught:
        run_configs([RunConfig(dataset="shapes")], tmp_path / "out", **arguments)
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--engine proces", "error: unknown engine 'proces'; did you mean 'process'?"),
        ("--gpus 0.5", "error: engine 'process' does not take the option 'gpus'; it is for engine ray"),
        ("--engine ensemble --address auto", "does not take the option 'address'"),
        ("--shard 9/8", "error: shard must be i/n with i from 1 to n"),
    ],
)
def test_the_command_line_says_so_too(
    options: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["lossbench", "study", "thesis", *options.split(), "--output", str(tmp_path / "o")])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_a_dry_run_of_a_part_shows_that_part(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("lossbench.estimate.estimate", lambda *_, **__: "")
    line = "study thesis --dataset shapes --seeds 2 --shard 2/4 --dry-run"
    monkeypatch.setattr("sys.argv", ["lossbench", *line.split(), "--output", str(tmp_path / "o")])
    with pytest.raises(SystemExit):
        main()
    expected = [config.run_id for config in take_shard(plan_study("thesis", ["shapes"], 2), "2/4")]
    assert capsys.readouterr().out.split() == expected
