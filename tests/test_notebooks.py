"""Every notebook: its form, read from the source, and its parameters, all of them changed at once."""

import re
import statistics
from dataclasses import asdict, fields
from pathlib import Path

import nbformat
import pytest

from conftest import write_run
from lossbench import claims, papers
from lossbench.config import RunConfig
from lossbench.notebook import execute
from lossbench.notebook_parameters import read_parameters
from lossbench.records import Record

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
RUN = "06_train_one_run"
STUDY = "a folder of invented runs of every paper's study"
MOST_LINES, MEDIAN_LINES = 25, 6
HEADINGS = {"Takeaways", "Exercises", "References"}

# Small and different from every default; a notebook without a row fails.
OTHER_VALUES = {
    "01_quickstart": {
        "dataset": "shapes", "model": "small_cnn_cosine", "loss": "js_divergence", "loss_params": {}, "epochs": 1,
        "train_size": 100, "seeds": [4, 5],
    },
    "02_theory": {
        "dataset": "shapes", "seed": 1, "step_size": 0.2, "steps": 5, "epochs": 1, "train_size": 100,
    },
    "03_probability_functions": {
        "dataset": "shapes", "margin": 1.0, "order": 4, "epochs": 1, "train_size": 100, "seed": 1,
    },
    "04_loss_functions": {"num_classes": 4, "steps": 10, "seed": 1},
    "05_explorer": {"gamma": 0.5, "num_classes": 3, "noise": 0.1, "seeds": [7, 8]},
    RUN: {
        "dataset": "shapes", "model": "small_cnn_cosine", "loss": "focal", "loss_params": {"gamma": 0.5},
        "probability": "soft_margin_softmax", "probability_params": {"margin": 0.1}, "optimizer": "sgd", "lr": 0.01,
        "weight_decay": 1e-4, "weight_decay_on": "convolutions", "clip_norm": 1, "scheduler": "step",
        "batch_size": 16, "epochs": 2, "patience": 5, "seed": 3, "train_size": 100, "label_noise": 0.1,
        "noise_kind": "asymmetric", "imbalance": 2.0, "augmentation": "thesis", "pretrained": False,
        "trainable": "head", "selection": "best_test", "precision": "bfloat16",
    },
    "07_study": {
        "dataset": "shapes", "loss": "adma", "loss_params": {"a": 0.5}, "epochs": 2, "train_size": 100, "seeds": 2,
        "workers": 1,
    },
    "08_thesis_analysis": {"results": STUDY, "probability": "taylor_softmax", "replays": 10, "seed": 3},
    "09_adma": {"results": STUDY, "exponents": [0.2, 0.5]},
    "10_sampling_free_and_metric_learning": {
        "results": STUDY, "beta": 2.0, "gamma": 1.0, "dataset": "shapes", "epochs": 1, "train_size": 100, "seed": 1,
    },
    "11_false_positive_loss": {"results": STUDY},
    "12_hierarchical_loss": {"results": STUDY},
    "13_loss_landscapes": {
        "dataset": "shapes", "losses": {"adma": {"a": 0.4}, "js_divergence": {}}, "seed": 5, "epochs": 1,
        "train_size": 100, "images": 40, "points": 5, "grid": 3, "directions": 2,
    },
    "14_your_own_loss": {
        "q": 0.5, "label_noise": 0.2, "seeds": 2, "epochs": 1, "train_size": 100, "lr": 0.01,
    },
}  # fmt: skip
# Published weights come with slow models only.
UNCHANGED = {(RUN, "pretrained")}


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def prose(notebook):
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_it_is_valid_and_starts_the_kernel_that_every_machine_has(path, notebook):
    nbformat.validate(notebook)
    assert re.fullmatch(r"\d\d_[a-z_]+", path.stem)
    assert notebook.metadata.kernelspec.name == "python3"
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_the_source_holds_no_output(notebook):
    # Exact values are compared by assertions, which also hold where nbval is not at work.
    assert not [cell.source for cell in code_cells(notebook) if cell.outputs or cell.execution_count is not None]
    marked = [cell.source for cell in code_cells(notebook) if "# NBVAL_CHECK_OUTPUT" in cell.source]
    assert all("assert " in source for source in marked)


def test_code_cells_are_thin(notebook):
    lines = [len(cell.source.splitlines()) for cell in code_cells(notebook)]
    assert max(lines) <= MOST_LINES
    assert statistics.median(lines) <= MEDIAN_LINES


def test_it_opens_with_a_title_a_question_and_three_goals(notebook):
    first = notebook.cells[0].source
    assert first.startswith("# ")
    assert "?" in first
    assert len(re.findall(r"^- ", first, re.MULTILINE)) == 3


def test_it_closes_with_what_was_learned_and_what_was_not(notebook):
    headings = set(re.findall(r"^## (?:\d+\. )?(.+?)\s*$", prose(notebook), re.MULTILINE))
    assert headings >= HEADINGS
    assert "What the evidence does not say" in prose(notebook)


def test_it_opens_on_colab_and_binder(path, notebook):
    first = notebook.cells[0].source
    assert f"https://colab.research.google.com/github/lossbench/lossbench/blob/main/notebooks/{path.name}" in first
    assert f"https://mybinder.org/v2/gh/lossbench/lossbench/main?labpath=notebooks%2F{path.name}" in first
    assert len(tagged(notebook, "colab")) == 1


def test_only_the_colab_cell_installs_anything(notebook):
    for cell in code_cells(notebook):
        installs = re.search(r"^\s*(!|%pip|%conda|%%bash|%%sh)", cell.source, re.MULTILINE)
        assert bool(installs) == ("colab" in cell.metadata.get("tags", [])), cell.source


def test_it_has_exercises_whose_checks_stand_apart_from_their_solutions(notebook):
    checks, solutions = tagged(notebook, "check"), tagged(notebook, "solution")
    assert checks
    assert [cell.source for cell in checks if "check(" not in cell.source] == []
    assert [cell.source for cell in solutions if "check(" in cell.source] == []
    assert all(cell.metadata.get("jupyter", {}).get("source_hidden") for cell in [*checks, *solutions])
    # Only the source is folded: what a solution prints must not give the answer away.
    ends = [cell.source.splitlines()[-1] for cell in solutions if cell.cell_type == "code"]
    assert [line for line in ends if not re.match(r"\s|assert |torch\.testing|[\w, ()]+ = ", line)] == []


def test_checks_come_before_their_solutions(notebook):
    tags = [
        tag for cell in code_cells(notebook) for tag in cell.metadata.get("tags", []) if tag in ("check", "solution")
    ]
    assert tags == ["check", "solution"] * (len(tags) // 2)


def test_it_prints_versions_and_seed(notebook):
    assert any("lossbench.__version__" in cell.source and "seed" in cell.source for cell in code_cells(notebook))


def test_it_knows_no_machine(path):
    found = re.findall(r"(?:/(?:home|root|work|tmp|Users)/|[A-Z]:\\\\)\S*", path.read_text(encoding="utf-8"))
    assert found == []


def test_its_links_to_other_notebooks_lead_somewhere(notebook):
    targets = re.findall(r"\]\(([^)#:]+)\)", prose(notebook))
    assert [target for target in targets if not (FOLDER / target).exists()] == []


def test_the_run_notebook_takes_exactly_the_fields_of_run_config_with_their_defaults():
    parameters = read_parameters(nbformat.read(FOLDER / f"{RUN}.ipynb", as_version=4), RUN)
    assert list(parameters) == [field.name for field in fields(RunConfig)]
    assert parameters.pop("epochs") < RunConfig().epochs
    assert RunConfig(**parameters) == RunConfig()


def test_other_values_are_given_for_every_parameter_and_differ_from_the_default(path, notebook):
    defaults = read_parameters(notebook, path.stem)
    others = OTHER_VALUES[path.stem]
    assert others.keys() == defaults.keys()
    same = {(path.stem, name) for name in others if others[name] == defaults[name]}
    assert same == {pair for pair in UNCHANGED if pair[0] == path.stem}


@pytest.mark.parametrize("name", claims.NOTEBOOKS)
def test_every_claim_finds_its_figure(name):
    source = prose(nbformat.read(FOLDER / f"{name}.ipynb", as_version=4))
    wanted = sorted(key for key, place in claims.FIGURES.items() if place.notebook == name)
    assert sorted(re.findall(r'<a id="(.+?)"></a>', source)) == wanted


@pytest.fixture(scope="session")
def invented(tmp_path_factory):
    """What STUDY stands for."""
    folder = tmp_path_factory.mktemp("invented")
    few = {"epochs": 3, "train_size": 1_000}
    plans = [
        *((plan, "fashion-mini") for plan in (papers.thesis, papers.adma, papers.sampling_free, papers.false_positive)),
        *((plan, "cifar-10-jpeg") for plan in (papers.thesis, papers.layers)),
    ]
    for plan, dataset in plans:
        for seed in (0, 1):
            for config in plan(RunConfig(dataset=dataset, seed=seed, **few)):
                write_run(folder, config, images=100, all_scores=True)
    return folder


def with_every_solution_checked(notebook):
    """The notebook with each check once more after its solution, where it must say that the solution is right."""
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        if "check" in cell.metadata.get("tags", []):
            check = cell.source.replace("check(", "assert 'Right.' == check(", 1)
        elif "solution" in cell.metadata.get("tags", []) and cell.cell_type == "code":
            cells.append(nbformat.v4.new_code_cell(check))
    return nbformat.from_dict({**notebook, "cells": cells})


@pytest.mark.slow
def test_it_runs_with_every_parameter_changed(path, tmp_path, request):
    values = {
        name: str(request.getfixturevalue("invented")) if value == STUDY else value
        for name, value in OTHER_VALUES[path.stem].items()
    }
    copy = tmp_path / "source" / path.name
    copy.parent.mkdir()
    nbformat.write(with_every_solution_checked(nbformat.read(path, as_version=4)), copy)
    executed = execute(str(copy), values, tmp_path)
    assert executed == tmp_path / "notebooks" / path.name
    given = {k: v for k, v in OTHER_VALUES[path.stem].items() if k in {field.name for field in fields(RunConfig)}}
    stored = [asdict(Record(folder).config) for folder in (tmp_path / "runs").glob("*")]
    assert path.stem != RUN or stored == [asdict(RunConfig(**given))]


@pytest.mark.slow
def test_the_run_notebook_shows_a_run_that_diverged_as_one(tmp_path):
    execute(RUN, {"dataset": "shapes", "train_size": 100, "optimizer": "sgd", "lr": 1e30}, tmp_path)
    (record,) = map(Record, (tmp_path / "runs").glob("*"))
    assert record.result["status"] == "diverged"
