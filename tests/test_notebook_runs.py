"""The strict papermill wrapper: what it refuses, what it leaves on disk, which Python it runs."""

from __future__ import annotations

import errno
import json
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
from killing import still_there, wait_for
from papermill.iorw import LocalHandler

import lossbench
import lossbench.studies.notebooks
from conftest import write_run
from lossbench.config import RunConfig, grid
from lossbench.records.lease import hold
from lossbench.records.record import Record
from lossbench.studies import papermill
from lossbench.studies.execute import Board, run_configs
from lossbench.studies.notebooks import NotebookFailed, describe_notebooks, execute, find_notebook
from lossbench.studies.papermill import write_index

PARAMETERS = """\
dataset = "fashion-mini"  # see `lossbench list datasets`
epochs = 1
lr = 1e-3
quiet = False
seeds = [0, 1]
loss_params = {}
train_size = None
"""


def write_notebook(path, *cells, tag="parameters", parameters=PARAMETERS):
    """A notebook with a title, a parameters cell and the code given."""
    first = nbformat.v4.new_code_cell(parameters, metadata={"tags": [tag]})
    code = [nbformat.v4.new_code_cell(source) for source in cells]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A title"), first, *code])
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def printed(path):
    """What the cells of an executed notebook wrote."""
    cells = nbformat.read(path, as_version=4).cells
    return "".join(out.get("text", "") for cell in cells for out in cell.get("outputs", []))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with `notebooks/`, in which no kernel may start."""

    def started(*_args, **_options):
        raise AssertionError("a notebook was executed")

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOSSBENCH_OUTPUT", raising=False)
    monkeypatch.setattr(lossbench.studies.notebooks, "_run", started)
    write_notebook(tmp_path / "notebooks" / "91_alpha.ipynb", "print(epochs)")
    write_notebook(tmp_path / "notebooks" / "92_alphabet.ipynb")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("91_alpha", "91_alpha"),
        ("91_alpha.ipynb", "91_alpha"),
        ("alphabet", "92_alphabet"),
        ("91", "91_alpha"),
        ("notebooks/92_alphabet.ipynb", "92_alphabet"),
    ],
)
def test_a_notebook_is_found_by_name_part_or_path(folder, name, stem):
    assert find_notebook(name).resolve() == folder / "notebooks" / f"{stem}.ipynb"


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("alpha", ValueError, "could be 91_alpha or 92_alphabet"),
        ("92_alfabet", ValueError, "did you mean '92_alphabet'"),
        ("", ValueError, "unknown notebook ''"),
        ("elsewhere/91_alpha.ipynb", FileNotFoundError, "no notebook at 'elsewhere/91_alpha.ipynb'; known by name"),
        ("../91_alpha", FileNotFoundError, "no notebook at '../91_alpha'"),
        ("notebooks/", ValueError, "unknown notebook 'notebooks/'"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused_with_what_there_is(folder, name, error, text):
    with pytest.raises(error, match=text.replace(".", r"\.")):
        execute(name, {})


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"epoch": 3}, TypeError, "did you mean 'epochs'? choose from dataset, epochs, lr"),
        ({"import os; os.abort() #": 1}, TypeError, "unknown parameter of notebook '91_alpha'"),
        (
            {"epochs": "3"},
            TypeError,
            "epochs of notebook '91_alpha' must be a whole number like its default 1",
        ),
        ({"epochs": 2.5}, TypeError, "must be a whole number like its default 1, got 2.5"),
        ({"epochs": True}, TypeError, "must be a whole number"),
        ({"quiet": 1}, TypeError, "must be true or false like its default False, got 1"),
        ({"lr": "fast"}, TypeError, "must be a number like its default 0.001, got 'fast'"),
        ({"dataset": 3}, TypeError, "must be text"),
        ({"seeds": 3}, TypeError, "must be a list like its default [0, 1], got 3"),
        ({"seeds": [0, "1"]}, TypeError, "must be a list like its default [0, 1], got [0, '1']"),
        ({"loss_params": [2.0]}, TypeError, "must be a mapping"),
        ({"dataset": "fashion-mimi"}, ValueError, "did you mean 'fashion-mini'"),
        ({"epochs": 0}, ValueError, "epochs must be at least 1, got 0"),
        ({"train_size": "all"}, TypeError, "train_size must be a number, got 'all'"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_runs(folder, given, error, text):
    with pytest.raises(error) as caught:
        execute("91_alpha", given)
    assert text in str(caught.value)
    assert not (folder / "outputs").exists()


@pytest.mark.parametrize(
    "given", [{"lr": 1}, {"train_size": None}, {"train_size": 500}, {"seeds": []}, {"loss_params": {}}, {"epochs": 7}]
)
def test_a_fitting_parameter_passes_the_checks(folder, given):
    with pytest.raises(AssertionError, match="a notebook was executed"):
        execute("91_alpha", given)


def test_names_that_mean_something_else_in_a_readers_notebook_are_not_judged_as_run_config(folder):
    write_notebook(folder / "mine.ipynb", parameters="loss = 0.3\n")
    with pytest.raises(AssertionError, match="a notebook was executed"):
        execute("mine.ipynb", {"loss": 0.5})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"tag": "settings"}, "has 0 cells tagged 'parameters' and needs exactly one"),
        ({"parameters": "epochs = 1\nsteps = 10 * epochs"}, "the value of steps in line 2 is computed"),
        ({"parameters": "epochs += 1"}, "line 1 is no `name = value`"),
        ({"parameters": "epochs ="}, "must hold plain lines such as `epochs = 3`"),
    ],
)
def test_a_notebook_without_a_plain_parameters_cell_is_refused(folder, options, text):
    write_notebook(folder / "odd.ipynb", **options)
    with pytest.raises(ValueError, match=text.replace("*", r"\*")):
        execute("odd.ipynb", {})


@pytest.mark.parametrize("content", ["", "no JSON", "{}", "[]"])
def test_a_file_that_is_no_notebook_is_refused(folder, content):
    Path("odd.ipynb").write_text(content)
    with pytest.raises(ValueError, match=r"odd\.ipynb is not a notebook|has 0 cells tagged"):
        execute("odd.ipynb", {})


@pytest.mark.parametrize("name_as", ["../out", "a/b", "", ".hidden", "x" * 121, "nul\0"])
def test_the_executed_copy_cannot_be_named_out_of_its_folder(folder, name_as):
    with pytest.raises(ValueError, match="name_as="):
        execute("91_alpha", {}, name_as=name_as)


def test_the_source_is_never_its_own_output(folder):
    write_notebook(folder / "outputs" / "notebooks" / "own.ipynb")
    with pytest.raises(ValueError, match="would be overwritten"):
        execute("outputs/notebooks/own.ipynb", {})


def test_an_output_that_is_a_file_is_refused_before_anything_runs(folder):
    (folder / "outputs").write_text("")
    with pytest.raises(OSError, match="is not a folder"):
        execute("91_alpha", {})


@pytest.mark.parametrize(
    "arguments", [["run", "92_alfabet"], ["run", "91_alpha", "-p", "epoch=3"], ["run", "91_alpha", "-p", "epochs=x"]]
)
def test_the_command_line_refuses_with_exit_code_2(folder, arguments, command):
    done = command("notebook", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")


def test_the_list_shows_title_and_parameters_of_every_notebook(folder):
    text = describe_notebooks()
    assert '91_alpha: A title\n    dataset = "fashion-mini"  # see `lossbench list datasets`\n    epochs = 1' in text
    assert "20_train_one_run: " in text


@pytest.fixture
def real(tmp_path, monkeypatch):
    """A working folder whose output has a name full of traps, beside a `python3` kernel that is none."""
    rogue = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    rogue.parent.mkdir(parents=True)
    rogue.write_text(json.dumps({"argv": ["/no/such/python"], "display_name": "rogue", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "out {epochs} $HOME"


def test_a_notebook_runs_in_this_python_with_its_parameters_and_this_output(real):
    source = write_notebook(Path("mine.ipynb"), "import os, sys\nprint(epochs, train_size, sys.executable)",
                            "print(os.environ['LOSSBENCH_OUTPUT'])")  # fmt: skip
    before = source.read_bytes()
    path = execute("mine.ipynb", {"epochs": 4, "train_size": None}, real, name_as="mine-s0")
    assert path == real / "notebooks" / "mine-s0.ipynb"
    assert printed(path) == f"4 None {sys.executable}\n{real}\n"
    assert [entry.name for entry in path.parent.iterdir()] == ["mine-s0.ipynb"]
    assert source.read_bytes() == before


def test_the_command_line_keeps_a_copy_of_other_parameters(real, command):
    write_notebook(Path("mine.ipynb"), "print(epochs)")

    def call(*options):
        return command("notebook", "run", "mine.ipynb", "--output", "out", *options).stderr

    assert call("-p", "epochs=4") == ""
    assert call("-p", "epochs=4") == "", "the same again is made anew"
    assert "with other parameters, {'epochs': 4}; give this one a name with --to NAME" in call("-p", "epochs=5")
    assert call("-p", "epochs=5", "--to", "five") == ""
    assert [printed(Path(f"out/notebooks/{name}.ipynb")) for name in ("mine", "five")] == ["4\n", "5\n"]


def test_links_in_an_executed_copy_lead_where_those_of_the_source_lead(real):
    Path("docs").mkdir()
    Path("docs/words.md").write_text("# Words\n")
    source = write_notebook(Path("notebooks/mine.ipynb"))
    links = "[a](../docs/words.md#loss), [b](mine.ipynb), [c](https://example.org/x), [d](#here), [e](nowhere.md)"
    notebook = nbformat.read(source, as_version=4)
    notebook.cells[0].source = links
    nbformat.write(notebook, source)
    path = execute("mine", {}, real)
    text = nbformat.read(path, as_version=4).cells[0].source
    a, b, *others = [part.split(")")[0] for part in text.split("](")[1:]]
    assert a.endswith("#loss")
    assert (path.parent / a.removesuffix("#loss")).resolve() == Path("docs/words.md").resolve()
    assert (path.parent / b).resolve() == source.resolve()
    assert others == ["https://example.org/x", "#here", "nowhere.md"]


def test_a_crash_keeps_the_notebook_so_far_and_the_copy_from_before(real):
    write_notebook(Path("mine.ipynb"), "print('begun')", "assert epochs == 1, 'too many'")
    kept = execute("mine.ipynb", {}, real)
    with pytest.raises(
        NotebookFailed, match=r"stopped in cell \[4\]: AssertionError: too many; the notebook"
    ) as caught:
        execute("mine.ipynb", {"epochs": 2}, real)
    assert caught.value.path == real / "notebooks" / "mine.failed.ipynb"
    assert printed(caught.value.path) == "begun\n"
    assert sorted(entry.name for entry in kept.parent.iterdir()) == ["mine.failed.ipynb", "mine.ipynb"]
    execute("mine.ipynb", {"epochs": 1}, real)
    assert [entry.name for entry in kept.parent.iterdir()] == ["mine.ipynb"]


def test_what_a_cell_prints_and_shows_is_kept_up_to_a_bound(real, monkeypatch):
    monkeypatch.setattr(lossbench.studies.notebooks, "CELL_BYTES", 10_000)
    show = "from IPython.display import HTML, display\nfor _ in range(9): display(HTML('x' * 4_000))"
    write_notebook(Path("mine.ipynb"), "for _ in range(20_000): print('loud')", show, "print('quiet')")
    cells = nbformat.read(execute("mine.ipynb", {}, real), as_version=4).cells
    loud, shown, quiet = cells[-3:]
    text = "".join(out.text for out in loud.outputs)
    assert text.endswith("(what this cell prints beyond that is left out)\n")
    assert 9_000 < len(text) < 10_100
    assert len(shown.outputs) == 3, "the one that crosses the bound is the last"
    assert quiet.outputs[0].text == "quiet\n"


def test_a_kernel_that_dies_is_reported_and_what_it_printed_is_kept(real):
    write_notebook(Path("mine.ipynb"), "print('begun')", "import os; os._exit(1)")
    with pytest.raises(NotebookFailed, match="its kernel was ended") as caught:
        execute("mine.ipynb", {}, real)
    assert printed(caught.value.path) == "begun\n"


def test_a_full_disk_leaves_no_damaged_file_and_says_where(real, monkeypatch):
    write_notebook(Path("mine.ipynb"), "print('begun')")
    write = LocalHandler.write
    written = []

    def write_until_full(self, text, path):
        written.append(path)
        if len(written) > 2:
            Path(path).write_text("")  # what open(path, "w") leaves behind
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, text, path)

    monkeypatch.setattr(LocalHandler, "write", write_until_full)
    with pytest.raises(OSError, match=r"cannot write .*mine\.part\.ipynb \(No space left on device; \d+ bytes free\)"):
        execute("mine.ipynb", {}, real)
    assert list((real / "notebooks").iterdir()) == []


# Studies of executed notebooks, in real kernels that are killed and interrupted for real.

RUN = papermill.NOTEBOOK
SOURCE = Path(__file__).resolve().parents[1] / "notebooks" / f"{RUN}.ipynb"
QUICK = RunConfig(dataset="shapes", epochs=2, train_size=100)


@pytest.fixture(autouse=True)
def ctrl_c():
    """As in a terminal: a shell switches it off for what it starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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
        given = "{field.name: globals()[field.name] for field in fields(RunConfig)}"
        imports = "import os, time\nfrom dataclasses import fields\nfrom pathlib import Path\n"
        sources = [imports + code, f"from lossbench import RunConfig, run\nrun(RunConfig(**{given}))"]
        notebook.cells = [parameters, *map(nbformat.v4.new_code_cell, sources)]
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


def when(condition, action, limit=240.0):
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
    configs = grid(dataset=["shapes"], epochs=[2], train_size=[100], loss=["focal"])
    summary = study(configs, tmp_path, workers=2)
    assert (summary.finished, summary.exit_code) == (1, 0)
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
    assert (again.finished, again.skipped) == (0, 1)
    assert kept == {path: path.stat().st_mtime_ns for path in (tmp_path / "notebooks").iterdir()}


def test_a_kernel_that_dies_is_replaced_and_its_run_goes_on(short_notebook, kills_once, tmp_path):
    output, config = short_notebook(), replace(QUICK, epochs=4, loss="kills_once")
    summary = study([config], output)
    assert kills_once.exists()
    assert (summary.finished, summary.failed) == (1, {})
    unbroken = lossbench.run(config, tmp_path / "unbroken")
    history = Record.of(config, output).path / "history.csv"
    assert history.read_bytes() == (unbroken.path / "history.csv").read_bytes()
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


def test_ctrl_c_twice_stops_at_once_and_leaves_nothing_behind(short_notebook, monkeypatch):
    output, heard, say = short_notebook(ENDLESS), threading.Event(), Board.say
    monkeypatch.setattr(Board, "say", lambda self, text: (say(self, text), "again stops now" in text and heard.set()))

    def press_twice():
        os.kill(os.getpid(), signal.SIGINT)
        heard.wait()  # two signals at once count as one
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
        wait_for(Path("begun").exists)
        kernels = kernels_of(process.pid)
        assert kernels
    finally:
        process.kill()
        process.wait()
    assert not still_there(kernels, 10)


def test_a_run_that_another_study_does_is_waited_for_and_costs_no_kernel(tmp_path, monkeypatch):
    monkeypatch.setattr(papermill, "execute_notebook", lambda *_args, **_options: pytest.fail("a kernel was started"))
    record = Record.of(QUICK, tmp_path)
    asked = threading.Event()
    monkeypatch.setattr("lossbench.studies.execute.HELD_SECONDS", 0.05)
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
