"""Studies of executed notebooks, in real kernels that are killed and interrupted for real."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import nbformat
import psutil
import pytest

import lossbench
from conftest import write_run
from lossbench.config import RunConfig, grid
from lossbench.engines import papermill, run_configs
from lossbench.engines.notebook_index import write_index
from lossbench.lease import hold
from lossbench.records import Record

RUN = papermill.NOTEBOOK
SOURCE = Path(__file__).resolve().parents[1] / "notebooks" / f"{RUN}.ipynb"
QUICK = RunConfig(dataset="shapes", epochs=2, train_size=100)


def study(configs, output, **options):
    return run_configs(configs, output, engine="papermill", show_progress=False, **options)


def outputs_of(path):
    """Identifier of each code cell -> its outputs."""
    cells = nbformat.read(path, as_version=4).cells
    return {cell.id: cell.outputs for cell in cells if cell.cell_type == "code"}


@pytest.fixture
def short_notebook(tmp_path, monkeypatch):
    """Put a short run notebook where the engine looks first: parameters, then the code given, then the run."""
    monkeypatch.chdir(tmp_path)

    def write(code="pass"):
        notebook = nbformat.read(SOURCE, as_version=4)
        (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
        (config,) = (cell for cell in notebook.cells if cell.source.startswith("config = RunConfig("))
        config.source = f"from lossbench import RunConfig, run\n{config.source}\nrun(config)"
        first = nbformat.v4.new_code_cell(f"import os, time\nfrom pathlib import Path\n{code}")
        notebook.cells = [parameters, first, config]
        Path("notebooks").mkdir()
        nbformat.write(notebook, f"notebooks/{RUN}.ipynb")
        return tmp_path / "out"

    return write


def kernels_of(pid):
    """Kernels of this process that are alive."""
    found = []
    with suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.Error):  # it has just ended
                found += [child] if any("ipykernel" in part for part in child.cmdline()) else []
    return found


def when(condition, action, limit=120.0):
    """Call `action` from a thread as soon as `condition()` is true."""

    def wait():
        end = time.monotonic() + limit
        while not condition():
            if time.monotonic() > end:
                return
            time.sleep(0.01)
        action()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
def test_each_run_is_an_executed_notebook_with_the_record_of_any_other_engine(tmp_path):
    configs = grid(dataset=["shapes"], epochs=[2], train_size=[100], loss=["focal"], seed=[0, 1])
    summary = study(configs, tmp_path, workers=2)
    assert (summary.finished, summary.exit_code) == (2, 0)
    for config in configs:
        record = Record.of(config, tmp_path)
        alone = lossbench.run(config, tmp_path / "alone")
        for name in ("config.json", "history.csv", "predictions.npz"):
            assert (record.path / name).read_bytes() == (alone.path / name).read_bytes()
        assert record.result.keys() == alone.result.keys()
        assert record.result["threads"] == 1
        cells = outputs_of(tmp_path / "notebooks" / f"{config.run_id}.ipynb")
        tags = {cell.id: cell.metadata.get("tags", []) for cell in nbformat.read(SOURCE, as_version=4).cells}
        assert [name for name, outputs in cells.items() if outputs and "timing" in tags.get(name, [])] == []
        assert sum("image/png" in out.get("data", {}) for outputs in cells.values() for out in outputs) == 4
    page = (tmp_path / "notebooks" / "index.html").read_text()
    assert all(f'href="{config.run_id}.ipynb"' in page for config in configs)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "notebooks").iterdir()}
    again = study(configs, tmp_path)
    assert (again.finished, again.skipped) == (0, 2)
    assert kept == {path: path.stat().st_mtime_ns for path in (tmp_path / "notebooks").iterdir()}


def test_a_kernel_that_dies_is_replaced_and_its_run_goes_on(short_notebook, tmp_path):
    output = short_notebook()
    config = replace(QUICK, epochs=6, dataset="fashion-mini", train_size=1000)
    checkpoint = Record.of(config, output).path / "checkpoint.pt"
    killer = when(checkpoint.exists, lambda: [kernel.kill() for kernel in kernels_of(os.getpid())])
    summary = study([config], output)
    killer.join()
    assert (summary.finished, summary.failed) == (1, {})
    unbroken = lossbench.run(config, tmp_path / "unbroken")
    assert (checkpoint.parent / "history.csv").read_bytes() == (unbroken.path / "history.csv").read_bytes()
    assert [path.name for path in (output / "notebooks").glob("*.ipynb")] == [f"{config.run_id}.ipynb"]


def test_a_run_that_cannot_work_fails_alone_and_only_a_dead_kernel_is_tried_again(short_notebook):
    output = short_notebook(
        """\
with Path("tries.txt").open("a") as file:
    print(seed, file=file)
if seed == 0:
    os._exit(1)
if seed == 1:
    raise OverflowError("<b>too & much</b>")"""
    )
    configs = [replace(QUICK, seed=seed) for seed in (0, 1, 2)]
    summary = study(configs, output, workers=2)
    assert (summary.finished, summary.exit_code) == (1, 1)
    assert sorted(Path("tries.txt").read_text().split()) == ["0", "0", "0", "1", "2"]
    dead, wrong = (summary.failed[config.run_id] for config in configs[:2])
    assert "its kernel was ended" in dead
    assert "OverflowError: <b>too & much</b>" in wrong
    assert f"{configs[1].run_id}.failed.ipynb" in wrong
    page = (output / "notebooks" / "index.html").read_text()
    assert "3 runs, 1 finished, 2 failed" in " ".join(page.split())
    assert "its kernel was ended" in page
    assert "&lt;b&gt;too &amp; much&lt;/b&gt;" in page


def test_ctrl_c_once_ends_the_epoch_and_a_second_call_ends_the_run_as_if_nothing_had_happened(short_notebook, tmp_path):
    output = short_notebook()
    configs = [replace(QUICK, epochs=8, dataset="fashion-mini", train_size=1000, seed=seed) for seed in (0, 1)]
    record = Record.of(configs[0], output)
    when((record.path / "checkpoint.pt").exists, lambda: os.kill(os.getpid(), signal.SIGINT))
    summary = study(configs, output, workers=1)
    assert (summary.interrupted, summary.finished, summary.failed, summary.exit_code) == (True, 0, {}, 130)
    assert (record.path / "checkpoint.pt").exists()
    assert not Record.of(configs[1], output).path.exists()
    assert [path.name for path in (output / "notebooks").iterdir()] == ["index.html"]
    assert study(configs[:1], output).finished == 1
    unbroken = lossbench.run(configs[0], tmp_path / "unbroken")
    assert (record.path / "history.csv").read_bytes() == (unbroken.path / "history.csv").read_bytes()


ENDLESS = "Path('begun').touch()\ntime.sleep(600)"


def test_ctrl_c_twice_stops_at_once_and_leaves_nothing_behind(short_notebook):
    output = short_notebook(ENDLESS)

    def press_twice():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

    when(Path("begun").exists, press_twice)
    summary = study([QUICK], output)
    assert (summary.interrupted, summary.exit_code) == (True, 130)
    assert kernels_of(os.getpid()) == []
    assert list((output / "notebooks").glob("*.ipynb")) == []


def test_no_kernel_outlives_a_killed_study(short_notebook):
    output = short_notebook(ENDLESS)
    command = [sys.executable, "-m", "lossbench", "study", "thesis", "--dataset", "shapes", "--seeds", "1"]
    process = subprocess.Popen([*command, "--engine", "papermill", "--workers", "1", "--output", str(output)])
    try:
        when(Path("begun").exists, process.kill).join()
        kernels = kernels_of(process.pid)
        process.wait(60)
    finally:
        process.kill()
    assert not psutil.wait_procs(kernels, timeout=10)[1]


def test_a_run_that_another_study_does_is_waited_for_and_costs_no_kernel(tmp_path, monkeypatch):
    monkeypatch.setattr(papermill, "execute_notebook", lambda *_args, **_options: pytest.fail("a kernel was started"))
    record = Record.of(QUICK, tmp_path)
    asked = threading.Event()
    monkeypatch.setattr("lossbench.engines.slots.HELD_SECONDS", 0.05)
    found = papermill._is_held
    monkeypatch.setattr(papermill, "_is_held", lambda record: (found(record), asked.set())[0])
    with ExitStack() as held:
        held.enter_context(hold(record.path))
        other = when(asked.is_set, lambda: (write_run(tmp_path, QUICK), held.close()))
        summary = study([QUICK], tmp_path)
        other.join()
    assert (summary.finished, summary.failed) == (1, {})


def test_without_the_notebooks_the_error_says_so_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(papermill, "notebooks", dict)
    with pytest.raises(FileNotFoundError, match=f"executes the notebook '{RUN}', which is not here"):
        study([QUICK], tmp_path)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("device", "visible", "seen"),
    [("cpu", "2,5", ""), ("cuda", "2,5", None), ("cuda:1", "2,5", "5"), ("cuda:1", "", "1"), ("cpu", "", "")],
)
def test_a_notebook_sees_the_device_of_the_study_and_no_other(monkeypatch, device, visible, seen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert papermill._visible_gpus(device).get("CUDA_VISIBLE_DEVICES") == seen


def test_the_index_lists_runs_best_first_and_no_other_notebook(tmp_path):
    configs = [replace(QUICK, seed=seed) for seed in range(4)]
    other = RunConfig(dataset="shapes", probability="soft_margin_softmax", probability_params={"margin": 0.5})
    write_run(tmp_path, other)
    for config in configs:
        write_run(tmp_path, config, "diverged" if config.seed == 3 else "finished")
    empty = nbformat.writes(nbformat.v4.new_notebook())
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name in [*(config.run_id for config in (*configs, other)), "01_quickstart", f"{configs[0].run_id}.part"]:
        (folder / f"{name}.ipynb").write_text(empty)
    page = write_index(tmp_path).read_text()
    score = {config.run_id: Record.of(config, tmp_path).result["test_accuracy"] for config in configs}
    order = [*sorted((c.run_id for c in configs[:3]), key=lambda name: -score[name]), configs[3].run_id]
    places = [page.index(f'href="{name}.ipynb"') for name in order]
    assert places == sorted(places)
    assert all(f"{score[name]:.4f}" in page for name in order[:3])
    assert "5 runs, 4 finished, 1 diverged" in " ".join(page.split())
    assert re.findall(r"<h2.*?>(.+)</h2>", page) == ["shapes, small_cnn", "shapes, small_cnn, epochs=2, train_size=100"]
    assert "cross_entropy, soft_margin_softmax margin=0.5</a>" in page
    assert "quickstart" not in page
    assert ".part.ipynb" not in page
    assert "://" not in page
