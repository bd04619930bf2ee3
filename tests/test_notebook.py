"""The strict papermill wrapper: what it refuses, what it leaves on disk, which Python it runs."""

import errno
import json
import sys
from pathlib import Path

import nbformat
import pytest
from papermill.iorw import LocalHandler

import lossbench.notebook
from lossbench.cli import main
from lossbench.notebook import NotebookFailed, describe_notebooks, execute, find_notebook

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
    monkeypatch.setattr(lossbench.notebook, "_run", started)
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
def test_the_command_line_refuses_with_exit_code_2(folder, arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lossbench", "notebook", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_the_list_shows_title_and_parameters_of_every_notebook(folder):
    text = describe_notebooks()
    assert '91_alpha: A title\n    dataset = "fashion-mini"  # see `lossbench list datasets`\n    epochs = 1' in text
    assert "06_train_one_run: " in text


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
