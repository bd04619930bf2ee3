"""Runs and studies that are killed and interrupted for real, at random moments, end as if nothing had happened."""

from __future__ import annotations

import ctypes
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from killing import Child, fork, keep_weights, outcome, pause, quick_workers, still_there, trace_lines, wait_for

import lossbench
import lossbench.studies.notebooks
import lossbench.training.run
from lossbench import RunConfig
from lossbench.cli import main
from lossbench.config import grid
from lossbench.files import DiskFull, remove_temporaries, replacing, write_text
from lossbench.records.lease import Held
from lossbench.records.record import Record
from lossbench.records.tables import find_records
from lossbench.report.drawing import Figure, Panel, draw
from lossbench.studies.execute import run_configs
from lossbench.studies.notebooks import execute
from lossbench.training.checkpoint import read_checkpoint

CONFIGS = (
    RunConfig(dataset="shapes", epochs=4, train_size=100, loss="adma", loss_params={"learnable": True}),
    RunConfig(dataset="shapes", epochs=4, train_size=100, loss="proxy_nca", augmentation="adma_mnist"),
)
RECORD = ("config.json", "history.csv", "predictions.npz", "result.json")
TRAINING = ("training/run.py", "training/loop.py", "records/lease.py", "records/record.py")
WRITING = ("training/checkpoint.py", "files.py")


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


@pytest.mark.parametrize("number", range(8))
def test_a_run_killed_before_a_random_line_ends_bit_identically(number, tmp_path, unbroken):
    rng = random.Random(number)
    config = CONFIGS[number % 2]
    expected, lines, _ = unbroken[config]
    kind = WRITING if number < 4 else TRAINING
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


@pytest.mark.parametrize("number", range(4))
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


def test_one_interrupt_or_two_resume_exactly(tmp_path, unbroken):
    """Ctrl-C once lets the epoch end, twice stops at once; six times in all."""
    rng = random.Random(7)
    config, (expected, _, seconds) = CONFIGS[1], unbroken[CONFIGS[1]]
    options = "run --dataset shapes --loss proxy_nca --epochs 4 --set train_size=100 --set augmentation=adma_mnist"

    def command(output: Path) -> None:
        keep_weights(output)
        sys.argv = ["lossbench", *options.split(), "--output", str(output)]
        main()

    for number in range(6):
        output = tmp_path / str(number)
        output.mkdir()
        child = fork(lambda output=output: command(output), output / "log")
        wait_for(lambda folder=output / "runs" / config.run_id: (folder / "config.json").exists())
        pause(rng, seconds / 3)
        child.send(signal.SIGINT)
        if number % 3 == 0:
            child.send(signal.SIGINT)
        code = child.wait()
        assert code in (0, 130), (output / "log").read_text()
        assert code == 130 or Record.of(config, output).finished
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
        assert not still_there(workers), "no worker outlives its study"
        child = fork(lambda: study(tmp_path), log)
    assert child.wait() == 0, log.read_text()
    assert "24 of 24 runs finished" in log.read_text()
    assert {record.path.name for record in find_records(tmp_path)} == {config.run_id for config in GRID}
    files = Counter(path.name for path in (tmp_path / "runs").glob("*/*"))
    assert tidy(files, 10) == dict.fromkeys(RECORD, 24)
    assert set(lossbench.load_runs(tmp_path)["epochs_done"]) == {3}


def test_six_workers_on_one_folder_do_sixty_runs_once_each_though_two_are_killed(tmp_path):
    few = {"dataset": ["shapes"], "epochs": [1], "train_size": [32], "embedding_scores": [False]}
    configs = grid(**few, loss=["cross_entropy", "focal"], seed=range(30))

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

    children = [fork(lambda i=i: work(i), tmp_path / "log") for i in range(6)]
    for moment, victim in ((15, 2), (33, 5)):
        wait_for(lambda moment=moment: len(list((tmp_path / "runs").glob("*/result.json"))) >= moment)
        assert children[victim].kill()
    codes = [child.wait() for child in children]
    assert Counter(codes) == {0: 4, -9: 2}, (tmp_path / "log").read_text()
    assert len(list(find_records(tmp_path))) == 60
    trained = Counter(line for path in tmp_path.glob("*.done") for line in path.read_text().split())
    assert set(trained) == {config.run_id for config in configs}
    assert sum(trained.values()) <= 62, "only what a killed worker had in hand is done again"
    files = Counter(path.name for path in (tmp_path / "runs").glob("*/*"))
    assert tidy(files, 2) == dict.fromkeys(RECORD, 60)


# Disks that fill up and folders that cannot be written to: what was there stays whole, and the message says where.

CONFIG = RunConfig(dataset="shapes", epochs=3, train_size=64)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB: three checkpoints of the smallest model take 5."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"cannot mount a small file system: {made.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass


def full(path: Path) -> str:
    return rf"cannot write {re.escape(str(path))}.*: no space left on device, \d+ bytes free; what was there before"


def temporaries(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(".tmp") or path.stat().st_size == 0]


@pytest.mark.parametrize("epoch", [1, 3], ids=["checkpoint", "result"])
def test_a_disk_that_fills_up_stops_a_run_which_goes_on_when_there_is_room(
    small_disk: Path, tmp_path: Path, epoch: int
) -> None:
    expected = lossbench.run(CONFIG, tmp_path / "roomy")

    def fill_it(row: dict[str, float]) -> None:
        if row["epoch"] == epoch:
            fill(small_disk)

    record = Record.of(CONFIG, small_disk)
    with pytest.raises(DiskFull, match=full(record.path)):
        lossbench.run(CONFIG, small_disk, progress=fill_it)
    assert not record.finished
    assert read_checkpoint(record.path)["epoch"] == min(epoch, 2)  # type: ignore[index]
    assert temporaries(small_disk) == []
    with pytest.raises(DiskFull, match=full(small_disk)):
        lossbench.run(CONFIG, small_disk)
    (small_disk / "filler").unlink()
    for name in ("history.csv", "predictions.npz"):
        assert (lossbench.run(CONFIG, small_disk).path / name).read_bytes() == (expected.path / name).read_bytes()
    assert temporaries(small_disk) == []


def test_a_figure_and_a_notebook_on_a_full_disk_leave_the_old_ones(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(tmp_path / "mine.ipynb")
    settings = nbformat.v4.new_code_cell("epochs = 1", metadata={"tags": ["parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[settings]), source)
    monkeypatch.setattr(
        "lossbench.studies.notebooks._run", lambda source, part, *_, **__: part.write_bytes(source.read_bytes())
    )
    figure = Figure("curves", "", [Panel(lambda ax: ax.plot(range(5)), "a line")])
    draw(figure, small_disk)
    paths = [*small_disk.glob("curves.*"), execute(source, {}, small_disk)]
    old = {path: path.read_bytes() for path in paths}
    fill(small_disk)
    with pytest.raises(DiskFull, match=full(small_disk / "curves.png")):
        draw(figure, small_disk)
    with pytest.raises(OSError, match=r"cannot write .*notebooks.* \d+ bytes free"):
        execute(source, {}, small_disk)
    assert {path: path.read_bytes() for path in paths} == old
    assert temporaries(small_disk) == []


def test_a_study_on_a_disk_that_fills_up_stops_names_it_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    configs = [replace(CONFIG, seed=seed) for seed in range(8)]
    log = small_disk.parent / "log"

    def study(filling: bool = False) -> None:
        quick_workers()
        finish = lossbench.training.run.finish

        def finish_and_fill(*arguments: Any) -> None:
            finish(*arguments)
            if filling and len(list(find_records(small_disk))) == 2:
                fill(small_disk)

        lossbench.training.run.finish = finish_and_fill
        summary = run_configs(configs, small_disk, workers=1, show_progress=False)
        sys.stdout.write(str(summary))
        sys.exit(summary.exit_code)

    assert fork(lambda: study(filling=True), log).wait() == 1, log.read_text()
    (told,) = re.findall(r"  (shapes-.*: DiskFull: cannot write .*)", log.read_text())
    # Between two runs it is the next one's look at the output folder that finds no room.
    assert re.search(rf"cannot write {small_disk}(/runs/.*)?: no space left on device, \d+ bytes free", told)
    assert "1 failed" in log.read_text()
    assert "stopped early, the same command finishes the rest" in log.read_text()
    (small_disk / "filler").unlink()
    assert fork(study, log).wait() == 0, log.read_text()
    assert "8 of 8 runs finished" in log.read_text()
    assert [path for path in temporaries(small_disk) if path.parent.name != "logs"] == []


def test_a_file_that_may_not_grow_is_named_and_the_exit_code_says_so(tmp_path: Path) -> None:
    def limited() -> None:
        resource = pytest.importorskip("resource")
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        sys.argv = ["lossbench", "run", "--dataset", "shapes", "--epochs", "2", "--output", str(tmp_path / "out")]
        main()

    assert fork(limited, tmp_path / "log").wait() == 1
    (said,) = re.findall(r"error: (.*)", (tmp_path / "log").read_text())
    assert re.search(r"cannot write .*checkpoint\.pt: file too large, \d+ bytes free", said)
    assert [path.name for path in (tmp_path / "out").glob("runs/*/*")] == ["config.json"]


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder that its reader may enter but not write to."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    yield folder
    folder.rmdir()


DROP_BOUNDING_CAPABILITY, OVERRIDE_PERMISSIONS = 24, 1  # linux/prctl.h, linux/capability.h

COMMAND = """
import sys, time
from lossbench.cli import main
try:
    main()
finally:
    print("torch" in sys.modules, time.process_time() < 2)
"""


def obey_permissions() -> None:
    """Make the program that is started next obey permissions, as root does not."""
    if os.getuid() == 0:
        ctypes.CDLL(None).prctl(DROP_BOUNDING_CAPABILITY, OVERRIDE_PERMISSIONS)


@pytest.mark.parametrize(
    ("command", "missing"), [("run", ""), ("study thesis", "not/yet/there"), ("study thesis --engine papermill", "")]
)
def test_an_output_that_may_not_be_written_to_is_refused_before_torch_is_loaded(
    read_only: Path, command: str, missing: str
) -> None:
    line = [sys.executable, "-c", COMMAND, *command.split(), "--output", str(read_only / missing)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, preexec_fn=obey_permissions)
    said = f"error: cannot write to output '{read_only / missing}' (no permission to write to '{read_only}'); make it"
    assert said in done.stderr
    assert (done.returncode, done.stdout.split()) == (2, ["False", "True"])


def test_a_read_only_disk_is_refused_to_root_too(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(PermissionError, match="no permission to write to"):
        lossbench.run(CONFIG, small_disk)


def test_what_a_killed_writer_left_is_removed_by_the_next_and_a_live_writer_s_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "report.html"

    def write() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)

    fork(write).wait()
    elsewhere = tmp_path / ".report.html.00000000-1.abc.tmp"
    elsewhere.touch()
    assert len(list(tmp_path.iterdir())) == 2
    with replacing(path) as mine:
        mine.write_text("first")
        write_text(path, "second")
        assert mine.exists()
    assert sorted(tmp_path.iterdir()) == [elsewhere, path]
    assert path.read_text() == "first"
    remove_temporaries(tmp_path, everyones=True)
    assert list(tmp_path.iterdir()) == [path]


# Names that try to lead out of the output folder lead nowhere.

TRICKS = (
    "../x",
    "..",
    "/etc/x",
    "a/../../x",
    "..%2fx",
    "..\\x",
    "C:\\x",
    "a\0b",
    "CON",
    "x" * 300,
    "~/x",
    "",
    ".",
    "-rf",
    "x\n",
)
NAMES = st.one_of(st.sampled_from(TRICKS), st.text(max_size=300), st.text("./\\~%2f\0-aA:", max_size=40))
MANY = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@MANY
@given(name=NAMES, value=NAMES)
def test_a_run_s_folder_lies_in_runs_whatever_names_its_config_holds(name: str, value: str) -> None:
    config = RunConfig(loss="hierarchical_cross_entropy")
    object.__setattr__(config, "dataset", name)  # an imported data set may be called anything
    object.__setattr__(config, "loss_params", {"tree": value})
    config.__dict__["versions"] = {}  # which would look for the data set
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", config.run_id)
    assert Record.of(config, "/root-of-results").path.resolve().parent == Path("/root-of-results/runs")


@MANY
@given(name=NAMES)
def test_an_executed_notebook_lies_in_notebooks_whatever_it_is_to_be_called(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "mine.ipynb"
    if not source.exists():
        parameters = nbformat.v4.new_code_cell("epochs = 1", metadata={"tags": ["parameters"]})
        nbformat.write(nbformat.v4.new_notebook(cells=[parameters]), source)
    monkeypatch.setattr(
        lossbench.studies.notebooks, "_run", lambda source, part, *_, **__: part.write_bytes(source.read_bytes())
    )
    root = tmp_path / "out"
    fits = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}", name) is not None
    with nullcontext() if fits else pytest.raises(ValueError, match="name_as="):
        made = lossbench.studies.notebooks.execute(str(source), {}, root, name_as=name)
        assert made == root / "notebooks" / f"{name}.ipynb"
    assert {path.name for path in tmp_path.iterdir()} <= {"mine.ipynb", "out"}
    assert {str(path.parent) for path in root.rglob("*")} <= {str(root), str(root / "notebooks")}


@MANY
@given(name=NAMES, command=st.sampled_from(("run --dataset", "run --loss", "notebook run")))
def test_a_command_with_a_strange_name_writes_nothing_and_says_why(
    name: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only_one = sum(name in known for known in lossbench.studies.notebooks.notebooks()) == 1
    assume(command != "notebook run" or not only_one)  # such as 5: that is the name of a notebook, not a strange one
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lossbench", *command.split(), name, "--output", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} <= {"out"}
