"""Many runs: planning, skipping and reading them stays quick, and a worker does not grow.

Ten thousand runs may take 10 s; here a part of them may take ten times its share, since other programs may slow a
test. `benchmarks/many_runs.py` measures.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opened_files import opened_files

from benchmarks.many_runs import plan, write_invented
from lossbench import load_history, load_runs
from lossbench.records import Record

RUNS = 1_500


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    for config in plan(RUNS):
        write_invented(config, folder)
    return folder


@contextmanager
def in_time() -> Iterator[list[str]]:
    began = time.perf_counter()
    with opened_files() as opened:
        yield opened
    assert time.perf_counter() - began < 10 * 10 * RUNS / 10_000


def test_many_runs_are_planned_and_skipped_without_reading_any(output: Path) -> None:
    with in_time() as opened:
        configs = plan(RUNS + 1)
        todo = [config for config in configs if not Record.of(config, output).finished]
    assert (len(configs), todo, opened) == (RUNS + 1, configs[-1:], [])


def test_the_table_of_many_runs_reads_each_record_once(output: Path) -> None:
    with in_time() as opened:
        assert len(load_runs(output)) == RUNS
    assert len(opened) == 2 * RUNS
    with in_time() as opened:
        assert len(load_runs(output)) == RUNS
    assert opened == []


def test_the_curves_of_many_runs_open_a_file_a_run(output: Path) -> None:
    load_runs(output)
    with in_time() as opened:
        assert len(load_history(output)) == 5 * RUNS
    assert len(opened) == RUNS


GROWTH = """
import sys
from pathlib import Path
from lossbench import RunConfig, run

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))

losses = ["cross_entropy", "focal", "proxy_nca", "adma", "triplet"]
for seed in range(50):
    run(RunConfig(dataset="shapes", loss=losses[seed % 5], epochs=1, train_size=100, seed=seed), sys.argv[1])
    if seed in (9, 49):
        print(resident())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's memory there")
def test_a_worker_does_not_grow_over_fifty_runs(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", GROWTH, str(tmp_path)], capture_output=True, text=True, check=True)
    early, late = map(int, done.stdout.split())
    assert late < 1.05 * early
