"""Runs are listed, deleted and moved; whatever happens meanwhile, each one is whole somewhere."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from killing import fork

import lossbench
from conftest import Command, write_run
from lossbench import RunConfig
from lossbench.files import temporary_folder
from lossbench.records.lease import Held, hold
from lossbench.records.manage import check_files, delete_run, find_runs, overview, transfer_run
from lossbench.records.record import Record

FOCAL = RunConfig(loss="focal", epochs=3)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    for config in (RunConfig(epochs=3), FOCAL, RunConfig(loss="mse", epochs=3)):
        write_run(folder, config)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(".") and path.is_dir())


def test_a_deleted_run_is_gone_and_the_others_are_untouched(output: Path) -> None:
    others = {name: contents(output / "runs" / name) for name in find_runs(output) if name != FOCAL.run_id}
    delete_run(output, FOCAL.run_id)
    assert {name: contents(output / "runs" / name) for name in find_runs(output)} == others
    assert set(lossbench.load_runs(output)["run_id"]) == set(others)
    assert leftovers(output) == []


def test_a_moved_run_is_the_same_bytes_elsewhere_and_a_copied_one_in_both_places(output: Path, tmp_path: Path) -> None:
    before = contents(output / "runs" / FOCAL.run_id)
    there = tmp_path / "there"
    transfer_run(output, FOCAL.run_id, there, copy=True)
    assert contents(output / "runs" / FOCAL.run_id) == before == contents(there / "runs" / FOCAL.run_id)
    transfer_run(output, FOCAL.run_id, there)  # there already, and the same: only taken away here
    assert contents(there / "runs" / FOCAL.run_id) == before
    assert FOCAL.run_id not in find_runs(output)
    assert leftovers(output) == leftovers(there) == []


def test_a_run_in_work_is_refused(output: Path, tmp_path: Path) -> None:
    path = output / "runs" / FOCAL.run_id
    with hold(path):
        assert overview(Record(path)).status == "finished"
        with pytest.raises(Held, match="is being worked on by process"):
            delete_run(output, FOCAL.run_id)
        with pytest.raises(Held):
            transfer_run(output, FOCAL.run_id, tmp_path / "there")
    begun = RunConfig(seed=9)
    Record.of(begun, output).write_config(begun)
    with hold(output / "runs" / begun.run_id):
        assert overview(Record.of(begun, output)).status == "in work"
    assert overview(Record.of(begun, output)).status == "unfinished"


def test_another_run_under_the_same_name_is_never_overwritten(output: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    other = write_run(there, FOCAL, images=100).path
    before = contents(other)
    with pytest.raises(ValueError, match="is there already and differs; delete one of them"):
        transfer_run(output, FOCAL.run_id, there)
    assert contents(other) == before
    assert FOCAL.run_id in find_runs(output)
    with pytest.raises(ValueError, match="is the folder that the runs are in"):
        transfer_run(output, FOCAL.run_id, output)


def test_a_damaged_run_is_not_carried_on(output: Path, tmp_path: Path) -> None:
    record = Record(output / "runs" / FOCAL.run_id)
    (record.path / "history.csv").write_text("epoch\n")
    assert check_files(record)["history.csv"] == "damaged"
    assert check_files(record)["predictions.npz"] == "as written"
    with pytest.raises(ValueError, match=r"history\.csv is damaged; delete the run"):
        transfer_run(output, FOCAL.run_id, tmp_path / "there")
    assert find_runs(tmp_path / "there") == []


STEPS = [  # where the process is killed: before this call for the n-th time
    (shutil, "copytree", 1),
    (Path, "rename", 1),
    (Path, "rename", 2),
    (shutil, "rmtree", 1),
    (shutil, "rmtree", 2),
]


@pytest.mark.parametrize(("owner", "name", "nth"), STEPS, ids=[f"{name}-{nth}" for _, name, nth in STEPS])
def test_a_move_that_is_killed_leaves_the_run_whole_and_is_finished_by_the_next(
    output: Path, tmp_path: Path, owner: Any, name: str, nth: int
) -> None:
    before, there = contents(output / "runs" / FOCAL.run_id), tmp_path / "there"

    def move_and_die() -> None:
        calls, real = [0], getattr(owner, name)

        def die(*arguments: Any, **options: Any) -> Any:
            calls[0] += 1
            if calls[0] == nth:
                os._exit(9)
            return real(*arguments, **options)

        setattr(owner, name, die)
        transfer_run(output, FOCAL.run_id, there)

    assert fork(move_and_die).wait() == 9
    whole = [folder for folder in (output, there) if FOCAL.run_id in find_runs(folder)]
    assert whole
    for folder in whole:
        left = {key: value for key, value in contents(folder / "runs" / FOCAL.run_id).items() if key != "lease.json"}
        assert left == before
    if output in whole:
        transfer_run(output, FOCAL.run_id, there)
    assert contents(there / "runs" / FOCAL.run_id) == before
    assert FOCAL.run_id not in find_runs(output)
    for folder, what in ((output, "deleted"), (there, "arriving")):
        with temporary_folder(folder, what):
            pass
        assert leftovers(folder) == []


def test_patterns_choose_runs_and_one_that_matches_none_is_a_mistake(output: Path) -> None:
    assert find_runs(output, ["*focal*", "*mse*"]) == sorted(name for name in find_runs(output) if "cross" not in name)
    with pytest.raises(ValueError, match=r"unknown run 'focal'.* they are looked for in"):
        find_runs(output, ["focal"])
    with pytest.raises(ValueError, match="packed studies, whose runs are no folders"):
        find_runs(Path(__file__).parents[1] / "outputs" / "reference")


def test_the_commands_do_what_they_say(output: Path, tmp_path: Path, command: Command) -> None:
    (output / "runs" / FOCAL.run_id / "history.csv").write_text("epoch\n")
    done = command("runs", "list", "--output", output)
    assert done.returncode == 0
    shown = done.stdout.splitlines()
    assert [line.split()[:2] for line in shown[1:]] == [[name, "finished"] for name in find_runs(output)]
    done = command("runs", "show", "*focal*", "--output", output)
    assert done.returncode == 0
    shown = done.stdout.splitlines()
    assert "  loss: focal" in shown
    assert ["history.csv", "6", "damaged"] in [line.split() for line in shown]
    assert command("runs", "show", "*", "--output", output).returncode == 2
    done = command("runs", "delete", "*focal*", "--output", output)
    assert done.returncode == 2
    assert "without being asked give --yes" in done.stderr
    assert command("runs", "delete", "*focal*", "--yes", "--output", output).returncode == 0
    assert len(find_runs(output)) == 2
    assert command("runs", "move", "*", "--to", tmp_path / "there", "--output", output).returncode == 0
    assert (len(find_runs(output)), len(find_runs(tmp_path / "there"))) == (0, 2)


def test_whoever_says_no_keeps_the_runs(output: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("lossbench.cli.records.sys.stdin", Terminal("n\n"))
    assert command("runs", "delete", "*", "--output", output).returncode == 1
    assert len(find_runs(output)) == 3
