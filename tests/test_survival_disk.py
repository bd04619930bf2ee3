"""Disks that fill up and folders that cannot be written to: what was there stays whole, and the message says where."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from killing import fork, quick_workers, wait_for
from matplotlib.figure import Figure

import lossbench
from lossbench import RunConfig
from lossbench.checkpoint import read_checkpoint
from lossbench.cli import main
from lossbench.engines import run_configs
from lossbench.files import DiskFull, remove_temporaries, replacing, write_text
from lossbench.notebook import execute
from lossbench.records import Record, find_records
from lossbench.report.figures import save

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
    monkeypatch.setattr("lossbench.notebook._run", lambda source, part, *_, **__: part.write_bytes(source.read_bytes()))
    canvas = Figure()
    canvas.subplots().plot(range(5))
    paths = [*save(canvas, "curves", small_disk), execute(source, {}, small_disk)]
    old = {path: path.read_bytes() for path in paths}
    fill(small_disk)
    with pytest.raises(DiskFull, match=full(small_disk / "curves.png")):
        save(canvas, "curves", small_disk)
    with pytest.raises(OSError, match=r"cannot write .*notebooks.* \d+ bytes free"):
        execute(source, {}, small_disk)
    assert {path: path.read_bytes() for path in paths} == old
    assert temporaries(small_disk) == []


def test_a_study_on_a_disk_that_fills_up_stops_names_it_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    configs = [replace(CONFIG, seed=seed) for seed in range(8)]
    log = small_disk.parent / "log"

    def study() -> None:
        quick_workers()
        summary = run_configs(configs, small_disk, workers=1, show_progress=False)
        sys.stdout.write(str(summary))
        sys.exit(summary.exit_code)

    child = fork(study, log)
    wait_for(lambda: len(list(find_records(small_disk))) >= 2)
    fill(small_disk)
    assert child.wait() == 1, log.read_text()
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


@pytest.mark.parametrize("missing", ["", "not/yet/there"])
@pytest.mark.parametrize("command", ["run", "study thesis", "study thesis --engine papermill"])
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
