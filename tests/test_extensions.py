"""Losses in files of the user's own: every process of a study knows them, and their versions are told apart."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ray_cases import needs_ray, quiet_and_local  # noqa: F401  a fixture

from lossbench import LOSSES, PROBABILITIES, Criterion, RunConfig, extensions, load_runs
from lossbench.engines import run_configs
from lossbench.extensions import VARIABLE, extend, extend_once
from lossbench.losses import register
from lossbench.records import Record
from lossbench.study import plan_losses

SOURCE = '''
from lossbench.losses import register
from lossbench.losses.primitives import of_target, over_target
from lossbench.parameters import above


@register(checks={"scale": above(0)}, shown=("scale",), soft_target="by_class")
def scaled(log_probs, target, *, scale: float = 2.0):
    r"""Cross-entropy times a number.

    .. math:: L = -s \\log p_t

    Range: [0, inf).
    Gradient: that of cross_entropy times s.
    At p -> 0: as cross_entropy.
    At p -> 1: as cross_entropy.
    Equals: cross_entropy at scale 1.
    Source: none.
    Peers: none.
    """
    return over_target(-scale * of_target(log_probs, target), target)
'''
PROBABILITY = '''
from lossbench.probabilities import register_probability


@register_probability()
def plain(logits, target=None):
    r"""Softmax under another name.

    .. math:: p = e^z / \\sum e^z

    Range: (0, 1).
    Gradient: as softmax.
    Equals: softmax.
    Source: none.
    Peers: none.
    """
    return logits.log_softmax(1)
'''


@pytest.fixture(autouse=True)
def leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of these files is known to other tests."""
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setattr(extensions, "_loaded", {})
    kept = [(registry, dict(registry)) for registry in (LOSSES, PROBABILITIES)]
    yield
    for registry, before in kept:
        registry.clear()
        registry.update(before)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_losses.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def tiny(**changes: object) -> RunConfig:
    return RunConfig.from_dict({"dataset": "shapes", "epochs": 1, "train_size": 40, **changes})


def in_another_process(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ)).stdout.strip()


def test_a_loss_of_a_file_is_one_like_all_others(file: Path) -> None:
    extend(file)
    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    expected = 3 * torch.nn.functional.cross_entropy(logits, target)
    torch.testing.assert_close(Criterion("scaled", scale=3.0)(logits, target), expected)
    assert tiny(loss="scaled").label == "scaled scale=2"


def test_a_changed_file_is_loaded_anew_and_its_runs_have_other_names(file: Path) -> None:
    extend(file)
    before = tiny(loss="scaled").run_id
    extend(file)
    assert tiny(loss="scaled").run_id == before
    file.write_text(SOURCE.replace("-scale *", "-scale**2 *"), encoding="utf-8")
    extend(file)
    assert tiny(loss="scaled").run_id != before
    assert Criterion("scaled", scale=3.0)(torch.zeros(2, 2), torch.tensor([0, 1])).item() == pytest.approx(6.2383, 1e-4)


def test_other_processes_give_the_run_the_same_name(file: Path) -> None:
    extend(file)
    code = "from lossbench import RunConfig; print(RunConfig(loss='scaled', seed=3).run_id)"
    assert in_another_process(code) == RunConfig(loss="scaled", seed=3).run_id


def test_no_name_of_a_run_without_extensions_changes(file: Path) -> None:
    before = RunConfig(loss="focal", seed=3).run_id
    extend(file)
    assert RunConfig(loss="focal", seed=3).run_id == before


@pytest.mark.parametrize(
    "engine",
    [
        "process",
        pytest.param("papermill", marks=pytest.mark.slow),
        pytest.param("ray", marks=[pytest.mark.slow, needs_ray]),
        "ensemble",
    ],
)
def test_a_study_trains_it(engine: str, file: Path, tmp_path: Path) -> None:
    extend(file)
    plan = plan_losses([("scaled", {}), ("scaled", {"scale": 1.0})], ["shapes"], 1, {"epochs": 1, "train_size": 40})
    summary = run_configs(plan, tmp_path, engine=engine, workers=2, show_progress=False)
    assert not summary.failed
    assert summary.finished == 3
    runs = load_runs(tmp_path).set_index("label")
    assert set(runs.index) == {"cross_entropy", "scaled scale=2", "scaled scale=1"}
    assert runs.loc["scaled scale=1", "test_nll"] == pytest.approx(runs.loc["cross_entropy", "test_nll"], abs=1e-5)


def test_a_probability_function_of_a_file_reaches_the_workers(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(PROBABILITY, encoding="utf-8")
    extend(path)
    config = tiny(probability="plain")
    assert run_configs([config], tmp_path, show_progress=False).finished == 1
    other = run_configs([tiny()], tmp_path, show_progress=False)
    assert other.finished == 1
    scores = [Record.of(c, tmp_path).result["test_nll"] for c in (config, tiny())]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_the_records_are_read_where_the_loss_is_not_known(file: Path, tmp_path: Path) -> None:
    extend(file)
    run_configs([tiny(loss="scaled")], tmp_path, engine="ensemble", show_progress=False)
    code = f"from lossbench import load_runs; print(*load_runs({str(tmp_path)!r})['label'])"
    os.environ[VARIABLE] = ""
    assert in_another_process(code) == "scaled scale=2"


def test_a_loss_of_a_cell_is_refused_by_engines_with_other_processes(tmp_path: Path) -> None:
    space = {"__name__": "__main__"}
    exec(SOURCE, space)  # as a notebook does
    config = tiny(loss="scaled")
    with pytest.raises(ValueError, match=r"loss 'scaled' is known to this process only.*extend\('FILE.py'\)"):
        run_configs([config], tmp_path, show_progress=False)
    assert not Record.of(config, tmp_path).path.exists()
    assert run_configs([config], tmp_path, engine="ensemble", show_progress=False).finished == 1


def test_a_file_that_fails_leaves_nothing_behind(file: Path) -> None:
    file.write_text(SOURCE + "\nraise RuntimeError('half way')\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match="half way") as caught:
        extend(file)
    assert any(str(file) in note for note in caught.value.__notes__)
    assert "scaled" not in LOSSES
    assert not os.environ[VARIABLE]


def test_a_file_that_was_broken_by_a_change_leaves_what_it_was(file: Path) -> None:
    extend(file)
    entry = LOSSES["scaled"]
    file.write_text("this is no Python", encoding="utf-8")
    with pytest.raises(SyntaxError):
        extend(file)
    assert LOSSES["scaled"] is entry


def test_a_name_that_is_taken_is_refused(file: Path) -> None:
    file.write_text(SOURCE.replace("def scaled", "def focal"), encoding="utf-8")
    ours = LOSSES["focal"]
    with pytest.raises(ValueError, match="a loss named 'focal' is registered already"):
        extend(file)
    assert LOSSES["focal"] is ours


def test_what_is_no_file_of_python_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file 'nowhere\.py'"):
        extend("nowhere.py")
    (tmp_path / "losses.txt").write_text(SOURCE, encoding="utf-8")
    with pytest.raises(ValueError, match="is a Python file"):
        extend(tmp_path / "losses.txt")
    assert "scaled" not in LOSSES


def test_a_worker_loads_a_file_once(file: Path) -> None:
    extend_once([str(file)])
    entry = LOSSES["scaled"]
    extend_once([str(file)])
    assert LOSSES["scaled"] is entry


def test_only_the_version_of_a_users_function_is_told() -> None:
    assert extensions.digest(LOSSES["focal"].function) is None
    assert extensions.digest(register) is None
    assert extensions.digest(tiny) != extensions.digest(in_another_process)
