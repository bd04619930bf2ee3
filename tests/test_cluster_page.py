"""docs/cluster.md shows commands and a Slurm script; they are what the command line takes and do what the page says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import typer.main

from lossbench.cli import app
from lossbench.engines import ENGINES
from lossbench.engines.shard import take_shard
from lossbench.lease import HEARTBEAT_SECONDS, STALE_AFTER
from lossbench.study import plan_study

TEXT = (Path(__file__).parents[1] / "docs" / "cluster.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
(SCRIPT,) = [block for block in BLOCKS if block.startswith("#!")]
LINES = [line for block in BLOCKS if block != SCRIPT for line in block.splitlines() if line]


def parse(words: list[str]) -> dict[str, object]:
    """The parameters of a command line of lossbench, with nothing executed. Fails for an option that is not there."""
    assert words[0] == "lossbench"
    command = typer.main.get_command(app).commands[words[1]]
    return {"command": words[1], **command.make_context(words[1], words[2:]).params}


@pytest.mark.parametrize("line", LINES)
def test_every_command_is_one_that_the_command_line_takes(line: str) -> None:
    values = parse(shlex.split(line))
    assert values.get("engine", "process") in ENGINES


def test_every_option_and_engine_that_the_text_names_is_there() -> None:
    options = {option for name in ("study", "run") for option in click_options(name)}
    named = set(re.findall(r"`(--[a-z-]+)", TEXT)) - {"--signal", "--array"}
    assert named <= options
    assert set(re.findall(r"--engine (\w+)", TEXT)) <= set(ENGINES)


def click_options(name: str) -> list[str]:
    return [option for parameter in typer.main.get_command(app).commands[name].params for option in parameter.opts]


def run_task(tmp_path: Path, task: int) -> list[str]:
    """The words that one task of the array gives to lossbench."""
    home, shims = tmp_path / "home", tmp_path / "shims"
    (home / "lossbench" / ".venv" / "bin").mkdir(parents=True)
    (home / "lossbench" / ".venv" / "bin" / "activate").touch()
    shims.mkdir()
    for name, text in (("srun", 'exec "$@"'), ("lossbench", 'printf "%s\\n" lossbench "$@"')):
        (shims / name).write_text(f"#!/bin/bash\n{text}\n")
        (shims / name).chmod(0o755)
    count = re.findall(r"#SBATCH --array=1-(\d+)", SCRIPT)[0]
    cores = re.findall(r"#SBATCH --cpus-per-task=(\d+)", SCRIPT)[0]
    slurm = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": count, "SLURM_CPUS_PER_TASK": cores}
    environment = {"HOME": str(home), "PATH": f"{shims}:{os.environ['PATH']}", **slurm}
    done = subprocess.run(["bash", "-eu"], input=SCRIPT, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.splitlines()


def test_the_tasks_of_the_slurm_array_do_the_whole_study_between_them(tmp_path: Path) -> None:
    plan = plan_study("thesis", ["fashion-mnist"], 8)
    done: list[str] = []
    for task in range(1, 9):
        (tmp_path / str(task)).mkdir()
        values = parse(run_task(tmp_path / str(task), task))
        assert (values["command"], values["name"], values["dataset"]) == ("study", "thesis", ["fashion-mnist"])
        assert (values["seeds"], values["workers"]) == (8, 16)
        part = take_shard(plan, str(values["shard"]))
        assert len({config.seed for config in part}) == 1, "whole sets of paired runs, as the page says"
        done += [config.run_id for config in part]
    assert Counter(done) == Counter(config.run_id for config in plan)


def test_the_script_is_complete_and_its_lines_for_slurm_come_first() -> None:
    lines = SCRIPT.splitlines()
    directives = [line for line in lines if line.startswith("#SBATCH")]
    assert lines[1 : 1 + len(directives)] == directives, "Slurm reads them up to the first command"
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+=\S+", line) for line in directives)


def test_the_times_in_the_text_are_those_of_the_leases() -> None:
    assert "touches it every ten seconds" in TEXT
    assert "silent for thirty seconds" in TEXT
    assert (HEARTBEAT_SECONDS, STALE_AFTER) == (10, 3)
