"""A loss that reads, prints, exits or hangs harms its own run, which is named, and nothing else."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import lossbench
from conftest import SOURCE, Command, write_run
from lossbench import RunConfig
from lossbench.records.record import Record
from lossbench.studies import papermill, process
from lossbench.studies.execute import run_configs
from lossbench.studies.papermill import write_index

pytestmark = pytest.mark.usefixtures("forked_workers")

GOOD = RunConfig(dataset="shapes", epochs=1, train_size=40)


@pytest.fixture
def loss_that(leave_no_trace: None, tmp_path: Path) -> Callable[[str], RunConfig]:
    """A run of a loss in a file of the user's, which first does what is given."""

    def write(body: str) -> RunConfig:
        source = SOURCE.replace("def scaled", "def strange").replace("    return", f"    {body}\n    return")
        (tmp_path / "strange.py").write_text(f"import os, sys, time\n{source}", encoding="utf-8")
        lossbench.extend(tmp_path / "strange.py")
        return RunConfig(dataset="shapes", epochs=1, train_size=40, loss="strange")

    return write


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("input()", "EOFError"),
        ("sys.exit(0)", "ValueError: strange called sys.exit(0)"),
    ],
)
def test_a_loss_that_asks_or_leaves_fails_alone_and_the_study_goes_on(
    loss_that: Callable[[str], RunConfig], body: str, why: str, tmp_path: Path
) -> None:
    strange = loss_that(body)
    summary = run_configs([strange, GOOD], tmp_path, workers=1, show_progress=False)
    assert (summary.finished, list(summary.failed), summary.exit_code) == (1, [strange.run_id], 1)
    assert summary.failed[strange.run_id].startswith(why)
    assert strange.run_id in str(summary)


def test_a_loss_that_reads_finds_nothing_and_one_that_prints_fills_no_disk(
    loss_that: Callable[[str], RunConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(process, "LOG_BYTES", 3000)
    strange = loss_that("assert sys.stdin.read() == ''; print('loud ' * 500); os.system('echo from a child')")
    summary = run_configs([strange, GOOD], tmp_path, workers=1, show_progress=False)
    assert (summary.finished, summary.failed) == (2, {})
    (log,) = (tmp_path / "logs").iterdir()
    text = log.read_text(encoding="utf-8")
    assert text.startswith(f"--- {strange.run_id}\n")
    assert text.count("loud") >= 500
    assert "(what this run prints beyond that is left out)" in text
    assert len(text) < 3300


@pytest.mark.parametrize("engine", [process, pytest.param(papermill, marks=pytest.mark.slow)], ids=lambda e: e.__name__)
def test_a_loss_that_hangs_is_ended_and_named_and_the_rest_is_done(
    engine: ModuleType, loss_that: Callable[[str], RunConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The engine's clock stands still but for the hour that has passed once the loss hangs."""
    hangs, name = tmp_path / "hangs", engine.__name__.rpartition(".")[2]
    strange = loss_that(f"open({str(hangs)!r}, 'w').close(); time.sleep(600)")
    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: 3600.0 * hangs.exists()))
    configs = [strange, GOOD] if engine is process else [strange]
    summary = run_configs(configs, tmp_path, engine=name, workers=1, timeout=60, show_progress=False)
    assert (summary.finished, summary.exit_code) == (len(configs) - 1, 1)
    assert list(summary.failed) == [strange.run_id]
    assert summary.failed[strange.run_id].startswith("did not end within the timeout of 60 s; its last checkpoint")


@pytest.mark.parametrize(
    ("engine", "timeout", "message"),
    [("process", 0.0, "timeout must be greater than 0 seconds, got 0.0"), ("ensemble", 5.0, "cannot end a run")],
)
def test_a_timeout_that_cannot_be_kept_is_refused(engine: str, timeout: float, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        run_configs([GOOD], tmp_path / "out", engine=engine, timeout=timeout)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("leave", ["sys.exit(0)", "exit()"])
def test_a_command_that_a_loss_ended_says_so_and_is_no_success(
    loss_that: Callable[[str], RunConfig],
    leave: str,
    command: Command,
    tmp_path: Path,
) -> None:
    loss_that(leave)
    options = ["--loss", "strange", "--dataset", "shapes", "--epochs", "1", "--output", str(tmp_path)]
    code, _, said = command("run", *options)
    assert (code, "strange called sys.exit(" in said) == (2, True)
    code, _, said = command("study", *options, "--seeds", "1", "--engine", "ensemble")
    assert code == 1, said


def test_nothing_that_ends_the_program_from_outside_lossbench_counts_as_a_success(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lossbench.cli.program.table", lambda headers, rows: sys.exit(0))
    code, _, said = command("list", "losses")
    assert code == 2
    assert "test_engine_bounds.py, line " in said
    assert "calls sys.exit(0)" in said


def test_a_file_that_leaves_while_it_is_loaded_is_named(leave_no_trace: None, command: Command, tmp_path: Path) -> None:
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(0)\n", encoding="utf-8")
    for line in ("run --dataset shapes", "study thesis --dry-run", "list losses"):
        code, _, said = command(*line.split(), "--extend", str(tmp_path / "leaves.py"))
        assert code == 2, line
        assert "leaves.py" in said


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("run --dataset shapes --epochs 2 --resume maybe", "unknown choice of resume 'maybe'"),
        ("run --dataset shapes --epochs 2 --device nonsense", "device 'nonsense' is not available"),
        ("run --dataset shapes --epochs 2 --device meta", "device 'meta' is not available"),
        ("run --dataset shapes --epochs 2 --data /nowhere/at/all", "the data folder '/nowhere/at/all' does not exist"),
        ("study thesis --scale= --dry-run", "unknown scale ''"),
    ],
)
def test_what_is_asked_wrongly_is_refused_of_a_finished_run_too(
    line: str, message: str, command: Command, tmp_path: Path
) -> None:
    write_run(tmp_path, RunConfig(dataset="shapes", epochs=2))
    code, _, said = command(*line.split(), "--output", str(tmp_path))
    assert (code, message in said) == (2, True), said


DAMAGE = {
    "an unknown loss": ("config.json", lambda values: values | {"loss": "gone"}),
    "a field of a later version": ("config.json", lambda values: values | {"warmup": 3}),
    "a data set that is gone": ("config.json", lambda values: values | {"dataset": "mine"}),
    "a score that is text": ("result.json", lambda values: values | {"test_accuracy": "high"}),
    "no seconds": ("result.json", lambda values: {key: value for key, value in values.items() if key != "seconds"}),
}


@pytest.mark.parametrize("damage", [*DAMAGE, "a cut file", "a cut notebook"])
def test_an_index_page_shows_what_it_can_and_names_the_rest(damage: str, tmp_path: Path) -> None:
    good, bad = RunConfig(dataset="shapes", epochs=2), RunConfig(dataset="shapes", epochs=2, seed=1)
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for config in (good, bad):
        write_run(tmp_path, config)
        (folder / f"{config.run_id}.ipynb").write_text('{"cells": []}', encoding="utf-8")
    record = Record.of(bad, tmp_path).path
    if damage in DAMAGE:
        name, change = DAMAGE[damage]
        values = json.loads((record / name).read_text(encoding="utf-8"))
        (record / name).write_text(json.dumps(change(values)), encoding="utf-8")
    elif damage == "a cut file":
        (record / "result.json").write_text('{"status": "fini', encoding="utf-8")
    else:
        (folder / f"{bad.run_id}.ipynb").rename(folder / f"{bad.run_id}.failed.ipynb")
        (folder / f"{bad.run_id}.failed.ipynb").write_text('{"cells": [{"outp', encoding="utf-8")
    page = " ".join(write_index(tmp_path).read_text(encoding="utf-8").split())
    assert "2 runs, 1 finished, 1 damaged" in page
    assert "Its record cannot be read: " in page
    assert f'href="{good.run_id}.ipynb"' in page


def test_a_page_that_cannot_be_written_ends_no_study(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def full(output: Path) -> Path:
        raise OSError(28, "no space left on device", str(output))

    def train(name: str, parameters: object, output: Path, **options: object) -> None:
        write_run(tmp_path, GOOD)

    monkeypatch.setattr(papermill, "write_index", full)
    monkeypatch.setattr(papermill, "execute_notebook", train)
    summary = run_configs([GOOD], tmp_path, engine="papermill", show_progress=False)
    assert (summary.finished, summary.exit_code) == (1, 0)
    assert "the index of the notebooks is not written" in "".join(capsys.readouterr())
