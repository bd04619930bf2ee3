"""Names that try to lead out of the output folder lead nowhere."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import nbformat
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import lossbench.notebook
from lossbench import RunConfig
from lossbench.cli import main
from lossbench.records import Record

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
MANY = settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY
@given(name=NAMES, value=NAMES)
def test_a_run_s_folder_lies_in_runs_whatever_names_its_config_holds(name: str, value: str) -> None:
    config = RunConfig(loss="hierarchical_cross_entropy")
    object.__setattr__(config, "dataset", name)  # an imported data set may be called anything
    object.__setattr__(config, "loss_params", {"tree": value})
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
        lossbench.notebook, "_run", lambda source, part, *_, **__: part.write_bytes(source.read_bytes())
    )
    root = tmp_path / "out"
    fits = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}", name) is not None
    with nullcontext() if fits else pytest.raises(ValueError, match="name_as="):
        made = lossbench.notebook.execute(str(source), {}, root, name_as=name)
        assert made == root / "notebooks" / f"{name}.ipynb"
    assert {path.name for path in tmp_path.iterdir()} <= {"mine.ipynb", "out"}
    assert {str(path.parent) for path in root.rglob("*")} <= {str(root), str(root / "notebooks")}


@MANY
@given(name=NAMES, command=st.sampled_from(("run --dataset", "run --loss", "notebook run")))
def test_a_command_with_a_strange_name_writes_nothing_and_says_why(
    name: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only_one = sum(name in known for known in lossbench.notebook.notebooks()) == 1
    assume(command != "notebook run" or not only_one)  # such as 5: that is the name of a notebook, not a strange one
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lossbench", *command.split(), name, "--output", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} <= {"out"}
