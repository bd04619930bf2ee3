"""Every notebook: its form, read from the source, and its parameters, all of them changed at once."""

from __future__ import annotations

import copy
import math
import re
import statistics
from dataclasses import fields
from functools import partial
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.lib.pretty import pretty
from killing import fork
from scipy import optimize
from traitlets.config import Config

from conftest import write_run
from docs.badges import public_address, write_badges
from lossbench import LOSSES, Criterion, claims, stats
from lossbench.config import RunConfig
from lossbench.data import trees
from lossbench.exercises import NOT_ANSWERED, RIGHT, check
from lossbench.losses.probabilities import log_probs
from lossbench.records.record import Record
from lossbench.studies import plans as papers
from lossbench.studies.notebooks import execute, read_parameters

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
RUN = "20_train_one_run"
STUDY = "a folder of invented runs of every paper's study"
MOST_LINES, MEDIAN_LINES = 25, 8  # lines are at most 88 characters wide
WIDEST = 88  # characters that a page shows without scrolling
HEADINGS = {"Takeaways", "Exercises", "References"}

# Small and different from every default; a notebook without a row fails.
OTHER_VALUES = {
    "01_quickstart": {
        "dataset": "shapes", "model": "small_cnn_cosine", "loss": "js_divergence", "loss_params": {}, "epochs": 1,
        "train_size": 100, "seeds": [4, 5],
    },
    "02_where_losses_come_from": {"true_share": 0.6, "images": 300, "seed": 1},
    "19_theory_of_the_thesis": {
        "dataset": "shapes", "seed": 1, "step_size": 0.2, "steps": 5, "epochs": 1, "train_size": 100,
    },
    "03_from_logits_to_probabilities": {
        "dataset": "shapes", "margin": 1.0, "order": 4, "epochs": 1, "train_size": 100, "seed": 1,
    },
    "04_loss_functions": {"num_classes": 4, "seed": 1},
    "06_training_loop": {
        "dataset": "shapes", "epochs": 1, "train_size": 100, "batch_size": 16, "lr": 0.01, "seed": 1,
    },
    "05_explorer": {"gamma": 0.5, "num_classes": 3, "noise": 0.1, "seeds": [7, 8]},
    RUN: {
        "dataset": "shapes", "model": "small_cnn_cosine", "loss": "focal", "loss_params": {"gamma": 0.5},
        "probability": "soft_margin_softmax", "probability_params": {"margin": 0.1}, "label_smoothing": 0.1,
        "class_weight": "inverse", "sampler": "balanced", "optimizer": "sgd", "lr": 0.01, "warmup_epochs": 1,
        "weight_decay": 1e-4, "weight_decay_on": "convolutions", "clip_norm": 1, "scheduler": "step",
        "batch_size": 16, "epochs": 2, "patience": 5, "seed": 3, "train_size": 100, "label_noise": 0.1,
        "noise_kind": "asymmetric", "imbalance": 2.0, "augmentation": "thesis", "pretrained": False,
        "trainable": "head", "selection": "best_test", "precision": "bfloat16",
        "embedding_scores": False, "transfer": "fashion-mini", "metrics": ["auroc"],
    },
    "12_studies": {
        "dataset": "shapes", "loss": "adma", "loss_params": {"a": 0.5}, "epochs": 2, "train_size": 100, "seeds": 2,
        "workers": 1,
    },
    "14_thesis": {"results": STUDY, "probability": "taylor_softmax"},
    "15_adma": {"results": STUDY, "exponents": [0.2, 0.5]},
    "16_sampling_free": {"results": STUDY, "beta": 2.0, "gamma": 1.0},
    "17_false_positive_loss": {"results": STUDY},
    "18_hierarchical_loss": {"results": STUDY},
    "10_loss_landscapes": {
        "dataset": "shapes", "losses": {"adma": {"a": 0.4}, "js_divergence": {}}, "seed": 5, "epochs": 1,
        "train_size": 100, "images": 40, "points": 5, "grid": 3, "directions": 2,
    },
    "07_size_of_the_step": {"dataset": "shapes", "train_size": 100, "epochs": 1, "seeds": 2, "points": 3},
    "08_when_the_loss_matters": {
        "dataset": "shapes", "train_size": 200, "label_noise": 0.2, "imbalance": 5.0, "epochs": 1, "seeds": 3,
    },
    "09_losses_on_embeddings": {
        "dataset": "shapes", "train_size": 200, "per_class": 4, "epochs": 1, "seeds": 2, "temperature": 0.2,
    },
    "11_how_to_compare": {"results": STUDY, "replays": 20, "simulations": 100, "seed": 1},
    "13_your_own_loss": {
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
    thin = [cell for cell in code_cells(notebook) if "parameters" not in cell.metadata.get("tags", [])]
    lines = [len(cell.source.splitlines()) for cell in thin]  # of parameters there are as many as a run has fields
    assert max(lines) <= MOST_LINES
    assert statistics.median(lines) <= MEDIAN_LINES


def test_no_line_of_code_is_cut_off_on_the_page(notebook):
    lines = [line for cell in code_cells(notebook) for line in cell.source.splitlines()]
    assert [line for line in lines if len(line) > WIDEST] == []


def test_cells_that_only_build_a_sentence_are_folded(notebook):
    sentences = [cell for cell in code_cells(notebook) if re.search(r"^Markdown\(", cell.source, re.MULTILINE)]
    assert [cell.source for cell in sentences if "hide-input" not in cell.metadata.get("tags", [])] == []


def test_a_prediction_is_not_followed_by_its_answer_in_the_open(notebook):
    following = zip(notebook.cells, notebook.cells[1:], strict=False)
    asked = [after for cell, after in following if re.search(r"\*\*Predict[^#]*$", cell.source)]
    drawn = [cell for cell in asked if cell.cell_type == "code" and "plots." in cell.source]
    assert [cell.source for cell in drawn if not {"answer", "check"} & {*cell.metadata.get("tags", [])}] == []


def test_an_answer_ends_before_the_next_heading_or_question(notebook):
    answers = [cell.source for cell in tagged(notebook, "answer") if cell.cell_type == "markdown"]
    next_one = re.compile(r"^##|<details|\*\*(Predict:?\*\*|Exercise)", re.MULTILINE)
    assert [text for text in answers if next_one.search(text)] == []


def test_it_opens_with_a_title_a_question_and_three_goals(notebook):
    first = notebook.cells[0].source
    assert first.startswith("# ")
    assert "?" in first
    assert len(re.findall(r"^- ", first, re.MULTILINE)) == 3


def test_it_closes_with_what_was_learned_and_what_was_not(notebook):
    headings = set(re.findall(r"^## (?:\d+\. )?(.+?)\s*$", prose(notebook), re.MULTILINE))
    assert headings >= HEADINGS
    assert "What the evidence does not say" in prose(notebook)


def test_a_core_notebook_ends_with_a_quiz_of_five_folded_answers(path, notebook):
    _, _, quiz = prose(notebook).partition("## Quiz\n")
    questions = re.findall(r"<details><summary>(\d)\. (.+?)</summary>\n\n(.+?)</details>", quiz, re.DOTALL)
    assert [number for number, *_ in questions] == (list("12345") if quiz or int(path.stem[:2]) <= 13 else [])
    assert [question for _, question, _ in questions if re.search(r"[`$*]", question)] == []  # plain HTML


def test_no_bar_of_a_formula_ends_a_cell_of_a_table(notebook):
    rows = re.findall(r"^\|.*\|$", prose(notebook), re.MULTILINE)
    assert [row for row in rows if any(part.count("$") % 2 for part in re.split(r"(?<!\\)\|", row))] == []


def test_an_anchor_stands_before_what_it_names(notebook):
    assert [cell.source for cell in notebook.cells if re.search(r'<a id="[\w-]+"></a>\s*$', cell.source)] == []


def test_it_has_links_to_colab_only_where_the_repository_has_an_address(path, notebook):
    address, first = public_address(), notebook.cells[0].source
    assert len(tagged(notebook, "colab")) == bool(address)
    assert ("colab.research.google.com" in first) == ("mybinder.org" in first) == bool(address)
    there = write_badges(copy.deepcopy(notebook), path.name, "https://github.com/someone/lossbench")
    first, second, *_ = there.cells
    assert f"colab.research.google.com/github/someone/lossbench/blob/main/notebooks/{path.name}" in first.source
    assert f"mybinder.org/v2/gh/someone/lossbench/main?labpath=notebooks%2F{path.name}" in first.source
    assert "%pip install -q git+https://github.com/someone/lossbench" in second.source
    assert write_badges(there, path.name, address) == notebook


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


def execute_here(source, part, parameters, **_):
    """In place of a kernel, which would load torch and the others again: a fork of this process with a shell in it."""

    def work():
        shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
        shell.enable_gui = lambda _gui=None: None
        shell.run_line_magic("matplotlib", "inline")
        for cell in code_cells(nbformat.read(source, as_version=4)):
            if "skip-execution" not in cell.metadata.get("tags", []):
                shell.run_cell(cell.source, store_history=True).raise_error()
            if "parameters" in cell.metadata.get("tags", []):
                shell.push(dict(parameters))

    log = part.with_suffix(".log")
    assert fork(work, log).wait(1_800) == 0, log.read_text()[-5_000:]
    log.unlink()
    part.write_bytes(source.read_bytes())


@pytest.mark.slow
def test_it_runs_with_every_parameter_changed(path, tmp_path, request, monkeypatch, forked_workers):
    monkeypatch.setenv("LOSSBENCH_OUTPUT", str(tmp_path))
    monkeypatch.setattr("lossbench.studies.notebooks._run", execute_here)
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
    stored = [Record(folder).config for folder in (tmp_path / "runs").glob("*")]
    assert path.stem != RUN or stored == [RunConfig(**given)]


@pytest.mark.slow
def test_the_run_notebook_shows_a_run_that_diverged_as_one(tmp_path, monkeypatch):
    monkeypatch.setenv("LOSSBENCH_OUTPUT", str(tmp_path))
    monkeypatch.setattr("lossbench.studies.notebooks._run", execute_here)
    execute(RUN, {"dataset": "shapes", "train_size": 100, "optimizer": "sgd", "lr": 1e30}, tmp_path)
    (record,) = map(Record, (tmp_path / "runs").glob("*"))
    assert record.result["status"] == "diverged"


# What counts as an answer, in general and in every exercise of the notebooks.

E = math.e


@pytest.mark.parametrize(
    ("answer", "solution"),
    [
        (1, 1.0), (1.02, 1.0), (0.33, 1 / 3), (np.float32(0.3333), 1 / 3), (0.11, 0.105), (1_000, 1_015.0), (0, 0.0),
        ("focal", "focal"), (" Focal ", "focal"), (True, True), (np.True_, True),
        ([1, 2], torch.tensor([1, 2])), ((1, 2), [1.0, 2.0]), (pd.Series([1, 2]), [1, 2]),
        ([[1, 2], [3, 4]], np.array([[1, 2], [3, 4]])),
        (torch.tensor(2.0, requires_grad=True), 2), ([torch.tensor(1.0, requires_grad=True), np.float64(2)], [1, 2]),
        (lambda: 2.0, 2), (-3, -3.0),
    ],
)  # fmt: skip
def test_a_right_answer_is_accepted(answer, solution):
    assert check(answer, solution) == RIGHT


@pytest.mark.parametrize(
    ("answer", "solution"),
    [
        (1.06, 1.0), (0.35, 1 / 3), (-1, 1), (0.01, 0.0), ("Adma", "focal"), (1, "1"), ("1", 1), ("0", 0), (False, 0),
        (0, False), (1, True), (False, True), ([1, 2], [2, 1]), ([1], 1), (1, [1, 1]), ([1, [2]], [1, 2]),
        ([True, 1], [1, 1]),
        ("x", 1.0), (None, 0.0), (math.nan, 1.0), (math.inf, 1.0), (2 + 0j, 2), ({"a": 1}, 1), ([], 1), (10**400, 1),
    ],
)  # fmt: skip
def test_a_wrong_answer_gets_the_hint_and_stops_nothing(answer, solution):
    assert check(answer, solution, hint="look again") == "Not yet. Hint: look again."


@pytest.mark.parametrize("answer", [..., [1.0, ...], (..., ...), [[..., 1.0], [1.0, 1.0]], lambda: ...])
def test_a_missing_answer_is_told_apart_from_a_wrong_one(answer):
    assert check(answer, [1.0, 2.0]) == NOT_ANSWERED


def test_a_function_that_stops_with_an_error_gets_it_quoted():
    assert check(lambda: undefined, 1, hint="define it") == (  # noqa: F821
        "Not yet: it stops with NameError: name 'undefined' is not defined. Hint: define it."
    )


def test_what_can_be_counted_is_compared_exactly():
    assert check(43.0, 43, tolerance=0) == RIGHT
    assert check(42, 43, tolerance=0) != RIGHT
    assert check(43.01, 43, tolerance=0) != RIGHT


def test_an_answer_rounded_to_the_digits_asked_for_is_right():
    assert check(0.348, 0.3475, tolerance=1e-6, digits=3) == RIGHT
    assert check(0.35, 0.3475, tolerance=1e-6, digits=3) != RIGHT
    assert check(0.35, 0.3475, tolerance=1e-6, digits=2) == RIGHT


def test_a_notebook_shows_a_sentence_without_quotes():
    assert pretty(check(1, 1)) == "Right."
    assert pretty(check(2, 1, hint="less")) == "Not yet. Hint: less."


one_hot, cross_entropy = torch.nn.functional.one_hot, partial(torch.nn.functional.cross_entropy, reduction="none")


def golden(function):
    """Where a function of one valley between 0 and 1 is lowest."""
    return optimize.minimize_scalar(function, bounds=(0, 1), method="bounded").x


def slope(loss, weight):
    return torch.autograd.grad(loss, weight)[0]


def gradient_step(weight, x, target, lr):
    weight = weight.clone().requires_grad_()
    torch.nn.functional.cross_entropy(x @ weight, target).backward()
    return (weight - lr * weight.grad).detach()


def central(loss, z, h=1e-4):
    """The loss a step to the right of each number minus the loss a step to its left."""
    return torch.stack([loss(z + move) - loss(z - move) for move in h * torch.eye(len(z))])


def first_slope(loss, num_classes):
    """Gradient of a loss on the target's logit where all logits are 0."""
    logits = torch.zeros(1, num_classes, requires_grad=True)
    return torch.autograd.grad(loss(logits, torch.tensor([0])).sum(), logits)[0][0, 0].item()


def power_rounds(times, start, rounds):
    """The vector and the eigenvalue that power iteration holds after so many rounds."""
    for _ in range(rounds):
        start = times(start / start.norm())
    unit = start / start.norm()
    return unit, unit @ times(unit)


def pair_loss(z, target, margin):
    """The mean over all pairs of a batch, pair by pair."""
    pairs = [(i, j) for i in range(len(z)) for j in range(len(z)) if i != j]
    far = {pair: math.dist(z[pair[0]].tolist(), z[pair[1]].tolist()) for pair in pairs}
    own = {(i, j): bool(target[i] == target[j]) for i, j in pairs}
    return torch.tensor([far[p] ** 2 if own[p] else max(0.0, margin - far[p]) ** 2 for p in pairs]).mean()


def triplets_above(z, target, margin=0.2):
    """The losses above 0 of all triplets of a batch."""
    every, far = range(len(z)), torch.cdist(z, z)
    triplets = [
        (a, p, n) for a in every for p in every for n in every if a != p and target[a] == target[p] != target[n]
    ]
    losses = torch.tensor([(far[a, p] - far[a, n] + margin).item() for a, p, n in triplets])
    return losses[losses > 0]


# Exercise: three right answers written differently, and three wrong ones.
ANSWERS = {
    ("01", "focal_loss"): ([lambda p, gamma: -((1 - p) ** gamma) * p.log(), lambda p, gamma: [0.00105, 0.173, 1.87],
                            lambda p, g: [-((1 - x) ** g) * math.log(x) for x in p.tolist()]],
                           [lambda p, gamma: -p.log(), lambda p, gamma: (1 - p) ** gamma * p.log(),
                            lambda p, gamma: -(p**gamma) * p.log()]),
    ("01", "mean_of_pairs"): ([lambda new, old: np.mean([new[s] - old[s] for s in {*new} & {*old}]),
                               lambda new, old: 0.02, lambda new, old: (pd.Series(new) - pd.Series(old)).mean()],
                              [lambda new, old: np.mean([*new.values()]) - np.mean([*old.values()]),
                               lambda new, old: np.mean(np.subtract([*new.values()], [*old.values()])),
                               lambda new, old: sum(new[s] - old[s] for s in {*new} & {*old})]),
    ("01", "ahead_by_luck"): ([lambda new, old: np.mean([a > b for i, a in enumerate(new) for j, b in enumerate(old)
                                                         if i != j]),
                               lambda new, old: 0.67,
                               lambda new, old: ((new[:, None] > old).sum() - (new > old).sum()) / 6],
                              [lambda new, old: (new[:, None] > old).mean(), lambda new, old: (new > old).mean(),
                               lambda new, old: ((new[:, None] > old).sum() - (new > old).sum()) / 9]),
    ("01", "exact_difference"): ([0, 0.0, np.float64(0)], [0.001, "0", False]),
    ("02", "kl_bits"): ([lambda q, p: (torch.xlogy(q, q) - q * p.log()).sum(1) / math.log(2),
                         lambda q, p: [2, 0],
                         lambda q, p: torch.where(q > 0, q * (q / p).log2(), 0 * q).sum(1)],
                        [lambda q, p: (q * (q / p).log2()).sum(1), lambda q, p: [1.386, 0], lambda q, p: p.log2()]),
    ("02", "minimiser"): ([lambda score, q: min(range(1, 1000), key=lambda k: q * score(k / 1000)
                                                + (1 - q) * score(1 - k / 1000)) / 1000,
                           lambda score, q: 0.67,
                           lambda score, q: golden(lambda p: q * score(p) + (1 - q) * score(1 - p))],
                          [lambda score, q: q, lambda score, q: 1.0,
                           lambda score, q: golden(lambda p: (1 - q) * score(p) + q * score(1 - p))]),
    ("02", "poisson"): ([lambda z, y: z.exp() - y * z, lambda z, y: [1, 2.718, -2.611],
                         lambda z, y: -(torch.distributions.Poisson(z.exp()).log_prob(y) + torch.lgamma(y + 1))],
                        [lambda z, y: y * z - z.exp(), lambda z, y: z - y * z.log(),
                         lambda z, y: -torch.distributions.Poisson(z.exp()).log_prob(y)]),
    ("02", "bits_of_nothing"): ([9.97, 9.966, math.log2(1000)], [6.91, 3, 0.001]),
    ("19", "gradient"): ([lambda z, t: z.softmax(1) - one_hot(t, 3),
                          lambda z, t: [[-0.21, 0.11, 0.11], [0.33, 0.33, -0.67]],
                          lambda z, t: slope(cross_entropy(w := z.clone().requires_grad_(), t).sum(), w)],
                         [lambda z, t: one_hot(t, 3) - z.softmax(1), lambda z, t: z.softmax(1),
                          lambda z, t: slope(cross_entropy(w := z.clone().requires_grad_(), t).mean(), w)]),
    ("19", "map_side"): ([lambda n, k, s, p: (n + 2 * p - k) // s + 1,
                          lambda n, k, s, p: len(range(0, n + 2 * p - k + 1, s)),
                          lambda n, k, s, p: torch.empty(1, 1, n + 2 * p).unfold(2, k, s).shape[2]],
                         [lambda n, k, s, p: math.ceil((n + 2 * p - k) / s) + 1, lambda n, k, s, p: n // s,
                          lambda n, k, s, p: (n + p - k) // s + 1]),
    ("19", "coat"): ([[0.75, 0.9, 0.82], [3 / 4, 9 / 10, 9 / 11], np.array([0.75, 0.9, 0.818])],
                     [[0.9, 0.75, 0.82], [75, 90, 82], [0.75, 0.9, 0.675]]),
    ("03", "calibration_error"): ([lambda p, right, bins: 0.227,
                                   lambda p, right, bins: sum((p - right.float())[(p * bins).long() == i].sum().abs()
                                                              for i in range(bins)) / len(p),
                                   lambda p, right, n: np.abs(np.bincount(np.floor(p.numpy() * n).astype(int),
                                                                          p.numpy() - right.numpy())).sum() / len(p)],
                                  [lambda p, right, bins: (p - right.float()).abs().mean(),
                                   lambda p, right, bins: (p.mean() - right.float().mean()).abs(),
                                   lambda p, right, bins: sum((p - right.float())[(p * bins).long() == i].mean().abs()
                                                              for i in (0, 3, 8, 9)) / 4]),
    ("03", "needed"): ([[6.8, 41], [math.log(891), 41.2], np.array([6.79, 41.20])],
                       [[41.2, 6.79], [4.595, 13], [6.8, 42.2]]),
    ("03", "margin_loss"): ([lambda logits, target, m: cross_entropy(logits - m * one_hot(target), target),
                             lambda logits, target, margin: [0.974, 10_000.5],
                             lambda logits, target, m: -log_probs("soft_margin_softmax", logits, target, margin=m)[
                                 [0, 1], target]],
                            [lambda logits, target, margin: cross_entropy(logits, target),
                             lambda logits, target, margin: cross_entropy(logits, target) + margin,
                             lambda logits, target, m: cross_entropy(logits + m * one_hot(target), target)]),
    ("03", "bce"): ([lambda z, y: torch.nn.functional.binary_cross_entropy_with_logits(z, y, reduction="none"),
                     lambda z, y: torch.nn.functional.softplus((1 - 2 * y) * z),
                     lambda z, y: [math.log(2), 200, 200, 0.313]],
                    [lambda z, y: -(y * z.sigmoid().log() + (1 - y) * (1 - z.sigmoid()).log()),
                     lambda z, y: torch.nn.functional.binary_cross_entropy_with_logits(z, y),
                     lambda z, y: torch.nn.functional.softplus(z)]),
    ("04", "stable_focal"): ([lambda logits, target, gamma: [0, 200, 0.359],
                              lambda z, target, gamma: cross_entropy(z, target) * (
                                  torch.logsumexp(z[:, 1:], 1) - z.logsumexp(1)).mul(gamma).exp(),
                              lambda z, target, gamma: LOSSES["focal"].function(z.log_softmax(1), target, gamma=gamma)],
                             [lambda z, target, gamma: -((1 - z.softmax(1)[:, 0]) ** gamma) * z.softmax(1)[:, 0].log(),
                              lambda z, target, gamma: cross_entropy(z, target),
                              lambda z, target, gamma: [0, 200, 0.234]]),
    ("04", "gce"): ([lambda logits, target, q: -torch.expm1(-q * cross_entropy(logits, target)) / q,
                     lambda logits, target, q: [0.69, 3.05],
                     lambda logits, target, q: (1 - logits.double().softmax(1)[[0, 1], target] ** q) / q],
                    [lambda logits, target, q: 1 - logits.softmax(1)[[0, 1], target] ** q,
                     lambda logits, target, q: torch.expm1(-q * cross_entropy(logits, target)) / q,
                     lambda logits, target, q: [0.0, 0.0]]),
    ("04", "gradient_weight"): ([lambda loss, logits, target: logits.softmax(1)[[0, 1], target],
                                 lambda loss, logits, target: [0.21, 0.79],
                                 lambda loss, z, target: slope(loss(w := z.clone().requires_grad_(), target).sum(), w)[
                                     :, 0] / (z.softmax(1)[:, 0] - 1)],
                                [lambda loss, logits, target: 1 - logits.softmax(1)[[0, 1], target],
                                 lambda loss, z, target: -slope(loss(w := z.clone().requires_grad_(), target).sum(), w)[
                                     :, 0],
                                 lambda loss, logits, target: [1, 1]]),
    ("04", "weight_one_at"): ([0.3, 0.298, 0.29], [0.5, 0.25, 0.7]),
    ("06", "step"): ([gradient_step, lambda *_, lr: [[-0.083, -0.33, 0.42], [0.42, -0.083, -0.33]],
                      lambda w, x, target, lr: w - lr * x.T @ ((x @ w).softmax(1) - one_hot(target)) / 2],
                     [lambda w, x, target, lr: w + lr * x.T @ ((x @ w).softmax(1) - one_hot(target)) / 2,
                      lambda w, x, target, lr: w - lr * x.T @ ((x @ w).softmax(1) - one_hot(target)),
                      lambda weight, x, target: weight]),
    ("06", "log_rest"): ([lambda logits, target: (1 - logits.double().softmax(1)[[0, 1], target]).log(),
                          lambda logits, target: [-11.31, -8.0],
                          lambda z, target: torch.log(-torch.expm1(z.double().log_softmax(1)[[0, 1], target]))],
                         [lambda logits, target: (1 - logits.softmax(1)[[0, 1], target]).log(),
                          lambda logits, target: logits.float().log_softmax(1)[[0, 1], target],
                          lambda logits, target: torch.tensor([1.2e-5, 3.4e-4])]),
    ("06", "accumulated"): ([lambda loss_of, weight, x, part: slope(loss_of(weight, x).mean(), weight),
                             lambda loss_of, weight, x, part: 104,
                             lambda loss_of, w, x, _: sum(slope(loss_of(w, few).sum() / 5, w) for few in x.split(2))],
                            [lambda loss_of, w, x, _: sum(slope(loss_of(w, few).mean(), w) for few in x.split(2)) / 3,
                             lambda loss_of, weight, x, part: slope(loss_of(weight, x).sum(), weight),
                             lambda loss_of, weight, x, part: weight.grad]),
    ("06", "smallest_scale"): ([16, 16.0, 2**4], [8, 32, 20]),
    ("05", "gamma_for_a_quarter"): ([3.1, 3.0999, np.float64(3.1)], [2, 2.9, 3.3]),
    ("05", "meeting_point"): ([0.37, 1 / E, 0.3679], [E, 0.5, 0.34]),
    ("05", "focal_gradient"): ([lambda p, g: (p - 1) * ((1 - p) ** g - g * p * (1 - p) ** (g - 1) * np.log(p)),
                                lambda p, gamma: [-1.128, -0.697, -0.0029],
                                lambda p, g: g * p * (1 - p) ** g * np.log(p) - (1 - p) ** (g + 1)],
                               [lambda p, g: (1 - p) ** g * (p - 1), lambda p, g: g * (1 - p) ** (g - 1) * np.log(p),
                                lambda p, g: (1 - p) * ((1 - p) ** g - g * p * (1 - p) ** (g - 1) * np.log(p))]),
    ("05", "crossing"): ([lambda f, g, low, high: optimize.brentq(lambda x: f(x) - g(x), low, high),
                          lambda f, g, low, high: 0.853,
                          lambda f, g, low, high: min(np.linspace(low, high, 30_001), key=lambda x: abs(f(x) - g(x)))],
                         [lambda f, g, low, high: (low + high) / 2, lambda f, g, low, high: math.exp(0.8526),
                          lambda f, g, low, high: low]),
    ("05", "times_as_strong"): ([2, 2.0, torch.tensor([4.0]).sqrt().item()], [1, 4, 0.5]),
    ("20", "steps"): ([lambda n, size: max(-(-n // size) - (n % size == 1), 1),
                       lambda n, size: max((n + size - 2) // size, 1),
                       lambda n, size: len([part for part in torch.arange(n).split(size) if len(part) > 1])],
                      [lambda n, size: n // size, lambda n, size: math.ceil(n / size), lambda n, size: n / size]),
    ("20", "scores"): ([lambda q, t: (np.mean([row.argmax() == k for row, k in zip(q, t, strict=True)]),
                                      -np.mean([row[k] for row, k in zip(q, t, strict=True)])),
                        lambda q, t: [0.67, 0.71],
                        lambda q, t: [2 / 3, torch.nn.functional.nll_loss(torch.tensor(q), torch.tensor(t))]],
                       [lambda q, t: [2 / 3, np.exp(q)[range(3), t].mean()], lambda q, t: [0.71, 0.67],
                        lambda q, t: [2 / 3, -q.max(1).mean()]]),
    ("20", "changes_the_id"): (["seed", "Seed", " seed "], ["device", "default", 0]),
    ("07", "first_weight"): ([lambda loss, classes: -first_slope(loss, classes) / (1 - 1 / classes),
                              lambda loss, num_classes: 2.0 * abs(first_slope(loss, num_classes)) * num_classes
                              / (2 * num_classes - 2),
                              lambda loss, num_classes: first_slope(loss, num_classes) / (1 / num_classes - 1)],
                             [first_slope, lambda loss, num_classes: 1.0,
                              lambda loss, num_classes: -first_slope(loss, num_classes)]),
    ("07", "clip"): ([lambda g, most: g * min(1.0, most / max(g.norm().item(), 1e-12)),
                      lambda g, most: g if g.norm() <= most else most * g / g.norm(),
                      lambda g, most: (g / max(1.0, g.norm().item() / most)).tolist()],
                     [lambda g, most: g.clamp(-most, most), lambda g, most: most * g / g.norm(),
                      lambda g, most: most * g / (g.norm() + 1e-12)]),
    ("07", "largest_eigenvalue"): ([lambda times, start, rounds=30: power_rounds(times, start, rounds)[1],
                                    lambda times, start: times(power_rounds(times, start, 40)[0]).norm(),
                                    lambda times, start, rounds=50: float(power_rounds(times, start, rounds)[1])],
                                   [lambda times, start: power_rounds(times, start, 0)[1],
                                    lambda times, start: times(start).norm(),
                                    lambda times, start: -power_rounds(times, start, 30)[1]]),
    ("07", "learning_rate"): ([0.046, 0.0461, 0.01 / (0.5 * 0.1**0.5 * E ** (0.1**0.5))], [0.01, 0.0022, 0.032]),
    ("07", "first_of_hundred"): ([0.04, 0.0398, 0.01**0.7], [0.7, 0.0112, 0.2]),
    ("08", "total"): ([lambda loss, z: sum(loss(z, torch.full((len(z),), k)) for k in range(z.shape[1])),
                       lambda loss, z: torch.stack([loss(z, torch.tensor([k, k])) for k in range(3)]).sum(0),
                       lambda loss, z: [sum(loss(r[None], torch.tensor([k])).item() for k in range(3)) for r in z]],
                      [lambda loss, z: loss(z, torch.zeros(len(z)).long()),
                       lambda loss, z: sum(loss(z, torch.full((len(z),), k)) for k in range(3)) / 3,
                       lambda loss, z: sum(loss(z, torch.full((len(z),), k)) for k in range(3)).sum()]),
    ("08", "class_weights"): ([lambda n: (1 / n) / (1 / n).mean(), lambda n: len(n) / n / (1 / n).sum(),
                               lambda n: [3 / x.item() / (1 / n).sum().item() for x in n]],
                              [lambda n: 1 / n, lambda n: n / n.mean(), lambda n: (1 / n) / (1 / n).sum()]),
    ("08", "logit_adjusted"): ([lambda z, t, n: torch.nn.functional.cross_entropy(z + n.log(), t, reduction="none"),
                                lambda z, t, n: -(z + (n / n.sum()).log()).log_softmax(1)[:, t[0]],
                                lambda z, t, n: [((n * z.exp()).sum() / (n * z.exp())[0, t]).log().item()]],
                               [lambda z, t, n: torch.nn.functional.cross_entropy(z - n.log(), t, reduction="none"),
                                lambda z, t, n: torch.nn.functional.cross_entropy(z, t, reduction="none"),
                                lambda z, t, n: torch.nn.functional.cross_entropy(z + n, t, reduction="none")]),
    ("08", "smoothed_optimum"): ([0.91, 0.9 + 0.01, np.float32(0.91)], [0.9, 1, 0.09]),
    ("08", "risk_factor"): ([0.56, 5 / 9, 0.5556], [0.6, 0.4, 0.36]),
    ("09", "contrastive"): ([lambda z, t, margin=1.0: pair_loss(z, t, margin), lambda z, t: pair_loss(z, t, 1.0).item(),
                             lambda z, t: 10.692 / 12],
                            [lambda z, t: pair_loss(z, t, 1.0) * 12, lambda z, t: pair_loss(z, t, 0.0),
                             lambda z, t: pair_loss(z, t, 1.0) * 12 / 16]),
    ("09", "triplet"): ([lambda z, t: triplets_above(z, t).mean(), lambda z, t: 0.821,
                         lambda z, t: triplets_above(z, t).sum() / len(triplets_above(z, t))],
                        [lambda z, t: triplets_above(z, t).sum(), lambda z, t: triplets_above(z, t).max(),
                         lambda z, t: triplets_above(z, t).sum() / 64]),
    ("09", "supervised_contrastive"): ([lambda z, t, temperature: Criterion(
                                            "supervised_contrastive", tau=temperature)(z, t),
                                        lambda z, t, temperature: 2.086, lambda z, t, temperature: np.float64(2.0861)],
                                       [lambda z, t, temperature: Criterion("supervised_contrastive", tau=0.1)(z, t),
                                        lambda z, t, temperature: Criterion("supervised_contrastive", tau=1.0)(z, t),
                                        lambda z, t, temperature: Criterion("supervised_contrastive", tau=2.0)(z, t)]),
    ("09", "balanced_batch"): ([lambda t, n, g: torch.cat([(t == k).nonzero()[:n, 0] for k in range(4)]),
                                lambda t, n, g: t.argsort(), lambda target, per_class, generator: [1, 2, 0, 3]],
                               [lambda t, n, g: t, lambda t, n, g: torch.arange(4), lambda t, n, g: t.sort().values]),
    ("09", "loss_of_anchor"): ([0.13, 0.1275, math.log(1 + E**-2 + 2 * E**-8)], [0.06, 8.1, 1.2]),
    ("11", "paired_t"): ([lambda d, q: (3.2225, *(d.mean() + np.array([-q, q]) * d.std(ddof=1) / 6**0.5)),
                          lambda d, q: [3.22, 0.061, 0.539],
                          lambda d, q: np.array([d.mean() / (half := d.std(ddof=1) / len(d) ** 0.5),
                                                 d.mean() - q * half, d.mean() + q * half])],
                         [lambda d, q: (d.mean() / d.std() * 6**0.5, 0.0607, 0.5393),
                          lambda d, q: (d.mean() / d.std(ddof=1), 0.0607, 0.5393), lambda d, q: d.mean()]),
    ("11", "two_tests"): ([lambda a, b, c, d, m: (not a <= 0 <= b, max(abs(c), abs(d)) < m),
                           lambda low, high, inner_low, inner_high, margin: [
                               low * high > 0, -margin < inner_low <= inner_high < margin],
                           lambda a, b, c, d, m: np.array([min(abs(a), abs(b)) > 0 and a * b > 0, d < m and -c < m])],
                          [lambda a, b, c, d, m: (a > 0, d < m), lambda a, b, c, d, m: "undecided",
                           lambda a, b, c, d, m: (not a <= 0 <= b, max(abs(a), abs(b)) < m / 2)]),
    ("11", "holm"): ([lambda p: stats.paired.holm(p), lambda p: [0.03, 0.06, 0.06, 0.02],
                      lambda p: [max((len(p) - i) * x for i, x in enumerate(sorted(p)) if x <= q) for q in p]],
                     [lambda p: 4 * p, lambda p: np.sort(p) * np.arange(4, 0, -1), lambda p: p]),
    ("11", "pairs_for_half_a_point"): ([14, 14.0, stats.sample_size(0.5, 0.6)], [13, 12, 56]),
    ("11", "any_alarm"): ([0.46, 0.4596, 1 - 0.95**12], [0.6, 0.05, 0.54]),
    ("12", "hours"): ([lambda runs, cores, s: -(-runs // cores) * s / 3600, lambda runs, cores, s: [5, 2][runs == 16],
                       lambda runs, cores, seconds: math.ceil(runs / cores) * seconds / 3600],
                      [lambda runs, cores, s: runs * s / cores / 3600, lambda runs, cores, s: runs // cores * s / 3600,
                       lambda runs, cores, s: -(-runs // cores) * s]),
    ("12", "epochs_again"): ([4, 4.0, np.int64(4)], [28, 24, 1]),
    ("12", "plan_of"): ([lambda losses, seeds: [[loss, seed] for seed in range(seeds) for loss in losses],
                         lambda losses, seeds: [(losses[i % 3], i // 3) for i in range(3 * seeds)],
                         lambda losses, seeds: np.stack([np.tile(losses, seeds), np.repeat(range(seeds), 3)], 1)],
                        [lambda losses, seeds: [(loss, seed) for loss in losses for seed in range(seeds)],
                         lambda losses, seeds: [(seed, loss) for seed in range(seeds) for loss in losses],
                         lambda losses, seeds: [(loss, seed + 1) for seed in range(seeds) for loss in losses]]),
    ("14", "placement"): ([lambda x: pd.Series(x).rank().tolist(), lambda x: [4.5, 4.5, 3, 2, 1],
                           lambda x: [1 + sum((a > b) + (a == b) / 2 for b in x) - 0.5 for a in x]],
                          [lambda x: [5, 4, 3, 2, 1], lambda x: pd.Series(x).rank(ascending=False).tolist(),
                           lambda x: pd.Series(x).rank(method="max").tolist()]),
    ("14", "losses_needed"): ([7, 7.0, np.int64(7)], [6, 5, 8]),
    ("15", "adma_weight"): ([lambda p, a: a * p**a * (p**a).exp(), lambda p, a: [0.217, 0.717, 1.36],
                             lambda p, a: a * torch.exp(a * p.log() + p**a)],
                            [lambda p, a: (p**a).exp(), lambda p, a: -a * p ** (a - 1) * (p**a).exp(),
                             lambda p, a: a * p**a]),
    ("15", "first_step"): ([0.35, 0.347, 0.348], [0.2475, 1, 0.55]),
    ("15", "largest_convex_a"): ([0.5, 1 / 2, np.float32(0.5)], [1, 0.368, 0.7]),
    ("16", "power_loss"): ([lambda p, beta, gamma: (1 - p) ** gamma * (-p.log()) ** beta,
                            lambda p, beta, gamma: [16.6, 0.00721],
                            lambda p, beta, gamma: p.log().neg().pow(beta).mul((1 - p).pow(gamma)).double()],
                           [lambda p, beta, gamma: -((1 - p) ** gamma) * p.log(),
                            lambda p, beta, gamma: (-p.log()) ** beta,
                            lambda p, beta, gamma: beta * (1 - p) ** gamma * -p.log()]),
    ("16", "p_of_equal_weight"): ([0.53, 0.533, E ** -(0.25 ** (1 / 3))], [0.63, 0.25, 0.368]),
    ("17", "false_positive"): ([lambda p, t: Criterion("false_positive", alpha="none", reduction="none")(p.log(), t),
                                lambda p, t: [math.log(10), 0.329],
                                lambda p, t: [-math.log(r[k] * (1 - max(r[:k] + r[k + 1 :])))
                                              for r, k in zip(p.tolist(), t.tolist(), strict=True)]],
                               [lambda p, t: -p[[0, 1], t].log(),
                                lambda p, t: -p[[0, 1], t].log() - (1 - p.amax(1)).log(),
                                lambda p, t: (p[[0, 1], t] * p.amin(1)).log()]),
    ("17", "mistakes_fewer"): ([132, 133, 132.5], [94, 5, 68]),
    ("18", "distance"): ([trees.tree_distance, lambda tree, a, b: len({*trees.path(tree, a)} ^ {*trees.path(tree, b)}),
                          lambda tree, a, b: {"dog": 2, "frog": 3, "ship": 4}[b] if a != b else 0],
                         [lambda tree, a, b: len({*trees.path(tree, a)} | {*trees.path(tree, b)}), lambda tree, a, b: 2,
                          lambda tree, a, b: trees.tree_distance(tree, a, b) / 2]),
    ("18", "largest_difference"): ([0, 0.0, torch.tensor(0.0)], [1, 0.01, "0"]),
    ("18", "fold_spread"): ([0.95, 0.949, 100 * (0.09 / 1000) ** 0.5], [0.0095, 0.9, 3]),
    ("10", "normalised_direction"): ([lambda d, w: d * (w.norm(dim=(1, 2)) / d.norm(dim=(1, 2)))[:, None, None],
                                      lambda d, w: [[[5, 0], [0, 0]], [[0.5, 0.5], [0.5, 0.5]]],
                                      lambda d, w: [(a / a.norm() * b.norm()).tolist() for a, b in zip(d, w)]],  # noqa: B905
                                     [lambda d, w: d * w.norm() / d.norm(), lambda d, w: d,
                                      lambda d, w: d * w.norm(dim=2, keepdim=True) / d.norm(dim=2, keepdim=True)]),
    ("10", "barrier_of"): ([lambda t, h: max(y - h[0] - x * (h[-1] - h[0]) for x, y in zip(t, h, strict=True)),
                            lambda t, h: 5.5 * h[0], lambda t, h: (h - np.interp(t, [0, 1], h[[0, -1]])).max()],
                           [lambda t, h: h.max() - max(h[0], h[-1]), lambda t, h: h.max(), lambda t, h: 1.1]),
    ("10", "typical_cosine"): ([0.01, 1e-2, 1 / 10_000**0.5], [0.1, 0, 0.0001]),
    ("13", "p_of_hardest_pull"): ([0.41, 0.412, 0.7 / 1.7], [0.7, 0.5, 0.59]),
    ("13", "measured_gradient"): ([lambda loss, z: central(loss, z) / 2e-4, lambda loss, z: [3, 12, 0.75],
                                   lambda loss, z: slope(loss(w := z.clone().requires_grad_()), w)],
                                  [lambda loss, z: central(loss, z) / 1e-4, lambda loss, z: -3 * z**2,
                                   lambda loss, z, h=1e-4: (loss(z + h) - loss(z - h)) / (2 * h)]),
    ("13", "poly1"): ([lambda log_probs, target, epsilon: -log_probs[:, 0] + epsilon * (1 - log_probs[:, 0].exp()),
                       lambda log_probs, target, *, epsilon: -log_probs[:, 0] - epsilon * torch.expm1(log_probs[:, 0]),
                       lambda log_probs, target, epsilon=1.0: [1.69315, 0.30536]],
                      [lambda log_probs, target, epsilon: -log_probs[:, 0],
                       lambda log_probs, target, epsilon: -log_probs[:, 0] + epsilon * log_probs[:, 0].expm1(),
                       lambda log_probs, target: log_probs]),
    ("13", "pairs_for_one_point"): ([34, 34.0, stats.sample_size(0.01, 0.02)], [9, 17, 64]),
}  # fmt: skip

# What the check cells take from their notebooks, beside the answer.
STATE = {
    "math": math, "np": np, "torch": torch, "stats": stats, "scipy_stats": scipy.stats,
    "cross_entropy": Criterion("cross_entropy", reduction="none"), "focal": Criterion("focal", reduction="none"),
    "adma": Criterion("adma", reduction="none"),
    "four": torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-1.0, 0.0]]),
    "FOUR": {"absolute error, 1 - p": lambda z, t: 1 - z.softmax(1).gather(1, t[:, None])[:, 0],
             "cross-entropy": Criterion("cross_entropy", reduction="none")},
     "sd": 0.02, "q": 0.7,
}  # fmt: skip


def check_cells():
    """(number of the notebook, name of the answer) -> source of the cell that checks it."""
    cells = {}
    for path in sorted(FOLDER.glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if "check" in cell.metadata.get("tags", []):
                name = re.search(r"^check\(\s*(?:lambda: )?\[?(\w+)", cell.source, re.MULTILINE)
                cells[path.stem[:2], name[1] if name else ""] = cell.source
    return cells


CHECKS = check_cells()


def reply(key, answer):
    """What the check cell of an exercise says to this answer."""
    lines = CHECKS[key].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("check("))
    state = {**STATE, "check": check, key[1]: answer}
    exec("\n".join(lines[:start]), state)
    return eval("\n".join(lines[start:]), state)


def test_every_exercise_with_a_check_is_tried_here():
    assert set(ANSWERS) == set(CHECKS)
    assert {(len(right), len(wrong)) for right, wrong in ANSWERS.values()} == {(3, 3)}


@pytest.mark.parametrize("key", ANSWERS, ids="-".join)
def test_right_answers_written_differently_are_accepted_and_wrong_ones_get_a_hint(key):
    right, wrong = ANSWERS[key]
    assert [reply(key, answer) for answer in right] == [RIGHT] * 3
    replies = [reply(key, answer) for answer in wrong]
    assert [text for text in replies if not (text.startswith("Not yet") and "Hint: " in text)] == []


def test_an_exercise_that_nobody_answered_says_so():
    unanswered = {key: (lambda *_, **__: ...) if "lambda:" in CHECKS[key] else ... for key in CHECKS}
    assert {reply(key, answer) for key, answer in unanswered.items()} == {NOT_ANSWERED}
