"""Runs and studies that are killed and interrupted for real, at random moments, end as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from killing import Child, fork, keep_weights, outcome, pause, quick_workers, trace_lines, wait_for

import lossbench
from lossbench import RunConfig
from lossbench.cli import main
from lossbench.config import grid
from lossbench.engines import run_configs
from lossbench.lease import Held
from lossbench.records import Record, find_records

CONFIGS = (
    RunConfig(dataset="shapes", epochs=4, train_size=100, loss="adma", loss_params={"learnable": True}),
    RunConfig(dataset="shapes", epochs=4, train_size=100, loss="proxy_nca", augmentation="adma_mnist"),
)
RECORD = ("config.json", "history.csv", "predictions.npz", "result.json")
TRAINING, WRITING = ("runner.py", "train.py", "lease.py", "record.py"), ("checkpoint.py", "files.py")


def compute(config: RunConfig, output: Path) -> None:
    """Run, and leave the weights and the number of each epoch that was done."""
    keep_weights(output)
    with (output / "epochs").open("a", buffering=1) as seen:
        lossbench.run(config, output, progress=lambda row: seen.write(f"{row['epoch']}\n"))


def epochs_seen(output: Path) -> list[int]:
    return [int(line) for line in (output / "epochs").read_text().split()]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[RunConfig, tuple[dict[str, bytes], list[str], float]]:
    """For each config: what an unbroken run leaves, the files that its lines are in, and its seconds."""
    found = {}
    for config in CONFIGS:
        output = tmp_path_factory.mktemp("unbroken")
        began = time.monotonic()
        assert fork(lambda c=config, o=output: compute(c, o), output / "log").wait() == 0, (output / "log").read_text()
        seconds = time.monotonic() - began
        traced = tmp_path_factory.mktemp("traced")

        def trace(config: RunConfig = config, traced: Path = traced) -> None:
            lines: list[str] = []
            trace_lines(TRAINING + WRITING, lines.append)
            compute(config, traced)
            sys.settrace(None)
            (traced / "lines").write_text("\n".join(lines))

        assert fork(trace).wait() == 0
        assert outcome(traced, config) == outcome(output, config)
        found[config] = outcome(output, config), (traced / "lines").read_text().split(), seconds
    return found


def resume(config: RunConfig, output: Path, expected: dict[str, bytes]) -> None:
    """End the run, and check that no whole epoch was lost and that all is as expected."""
    before = epochs_seen(output) if (output / "epochs").exists() else []
    assert fork(lambda: compute(config, output), output / "log").wait() == 0, (output / "log").read_text()
    again = epochs_seen(output)[len(before) :]
    assert again == list(range(5 - len(again), 5)), "from one epoch to the last"
    assert not set(again) & set(before) - {4}, "the last epoch needs no checkpoint, every other one has one"
    assert outcome(output, config) == expected
    left = {path.name for path in (output / "runs" / config.run_id).iterdir()}
    assert left == {"config.json", "history.csv", "predictions.npz", "result.json"}


@pytest.mark.parametrize("number", range(14))
def test_a_run_killed_before_a_random_line_ends_bit_identically(number, tmp_path, unbroken):
    rng = random.Random(number)
    config = CONFIGS[number % 2]
    expected, lines, _ = unbroken[config]
    kind = WRITING if number < 8 else TRAINING
    last = rng.choice([place for place, name in enumerate(lines) if name in kind])

    def die() -> None:
        seen: list[str] = []

        def at_line(name: str) -> None:
            seen.append(name)
            if len(seen) > last:
                os.kill(os.getpid(), signal.SIGKILL)

        trace_lines(TRAINING + WRITING, at_line)
        compute(config, tmp_path)

    assert fork(die).wait() == -signal.SIGKILL
    resume(config, tmp_path, expected)


@pytest.mark.parametrize("number", range(6))
def test_a_run_killed_from_outside_at_a_random_moment_ends_bit_identically(number, tmp_path, unbroken):
    rng = random.Random(100 + number)
    config = CONFIGS[number % 2]
    expected, _, seconds = unbroken[config]
    child = fork(lambda: compute(config, tmp_path))
    wait_for(lambda: (tmp_path / "runs" / config.run_id / "config.json").exists())
    pause(rng, seconds / 2)
    child.kill()
    if not Record.of(config, tmp_path).finished:
        resume(config, tmp_path, expected)
    assert outcome(tmp_path, config) == expected


def test_two_interrupts_in_ten_or_one_resume_exactly(tmp_path, unbroken):
    """Ctrl-C once lets the epoch end, twice stops at once; ten times in all."""
    rng = random.Random(7)
    config, (expected, _, seconds) = CONFIGS[1], unbroken[CONFIGS[1]]
    options = "run --dataset shapes --loss proxy_nca --epochs 4 --set train_size=100 --set augmentation=adma_mnist"

    def command(output: Path) -> None:
        keep_weights(output)
        sys.argv = ["lossbench", *options.split(), "--output", str(output)]
        main()

    for number in range(10):
        output = tmp_path / str(number)
        output.mkdir()
        child = fork(lambda output=output: command(output), output / "log")
        wait_for(lambda folder=output / "runs" / config.run_id: (folder / "config.json").exists())
        pause(rng, seconds / 3)
        child.send(signal.SIGINT)
        if number % 3 == 0:
            child.send(signal.SIGINT)
        code = child.wait()
        assert code == (0 if Record.of(config, output).finished else 130), (output / "log").read_text()
        assert fork(lambda output=output: command(output), output / "log").wait() == 0, (output / "log").read_text()
        assert outcome(output, config) == expected


GRID = grid(dataset=["shapes"], epochs=[3], loss=["cross_entropy", "focal", "mse"], seed=range(8))


def study(output: Path) -> None:
    quick_workers()
    summary = run_configs(GRID, output, workers=2, show_progress=False)
    sys.stdout.write(str(summary))
    sys.exit(summary.exit_code)


def workers_of(child: Child) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    wait_for(lambda: found.extend(psutil.Process(child.pid).children()) or found)
    return found


def tidy(files: Counter[str], kills: int) -> Counter[str]:
    """The files without what processes leave that are killed between their result and their tidying up."""
    for name in ("lease.json", "checkpoint.pt", "checkpoint.previous.pt"):
        assert files.pop(name, 0) <= kills
    return files


def test_a_study_whose_parent_or_workers_are_killed_ten_times_has_every_record_once(tmp_path):
    rng = random.Random(3)
    log = tmp_path / "log"
    victims = ["parent"] * 4 + ["worker"] * 6
    rng.shuffle(victims)
    moments = sorted(rng.sample(range(22), 10))
    child = fork(lambda: study(tmp_path), log)
    for victim, moment in zip(victims, moments, strict=True):
        wait_for(lambda moment=moment: len(list(find_records(tmp_path))) >= moment)
        pause(rng, 0.1)
        workers = workers_of(child)
        if victim == "worker":
            rng.choice(workers).kill()
            continue
        assert child.kill(), log.read_text()
        assert not psutil.wait_procs(workers, timeout=5)[1], "no worker outlives its study"
        child = fork(lambda: study(tmp_path), log)
    assert child.wait() == 0, log.read_text()
    assert "24 of 24 runs finished" in log.read_text()
    assert {record.path.name for record in find_records(tmp_path)} == {config.run_id for config in GRID}
    files = Counter(path.name for path in (tmp_path / "runs").glob("*/*"))
    assert tidy(files, 10) == dict.fromkeys(RECORD, 24)
    assert set(lossbench.load_runs(tmp_path)["epochs_done"]) == {3}


def test_eight_workers_on_one_folder_do_two_hundred_runs_once_each_though_two_are_killed(tmp_path):
    configs = grid(dataset=["shapes"], epochs=[1], train_size=[32], loss=["cross_entropy", "focal"], seed=range(100))

    def work(number: int) -> None:
        mine = configs.copy()
        random.Random(number).shuffle(mine)
        with (tmp_path / f"{number}.done").open("a", buffering=1) as done:
            while mine:
                config = mine.pop(0)
                try:
                    began = Record.of(config, tmp_path).finished
                    lossbench.run(
                        config, tmp_path, wait=False, progress=lambda row, c=config: done.write(f"{c.run_id}\n")
                    )
                    assert began or Record.of(config, tmp_path).finished
                except Held:
                    mine.append(config)

    children = [fork(lambda i=i: work(i), tmp_path / "log") for i in range(8)]
    for moment, victim in ((50, 2), (110, 5)):
        wait_for(lambda moment=moment: len(list((tmp_path / "runs").glob("*/result.json"))) >= moment)
        assert children[victim].kill()
    codes = [child.wait() for child in children]
    assert Counter(codes) == {0: 6, -9: 2}, (tmp_path / "log").read_text()
    assert len(list(find_records(tmp_path))) == 200
    trained = Counter(line for path in tmp_path.glob("*.done") for line in path.read_text().split())
    assert set(trained) == {config.run_id for config in configs}
    assert sum(trained.values()) <= 202, "only what a killed worker had in hand is done again"
    files = Counter(path.name for path in (tmp_path / "runs").glob("*/*"))
    assert tidy(files, 2) == dict.fromkeys(RECORD, 200)
