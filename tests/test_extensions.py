"""Losses in files of the user's own: every process of a study knows them, and their versions are told apart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from extension_cases import SOURCE

from lossbench import LOSSES, Criterion, RunConfig, extensions, load_runs
from lossbench.engines import run_configs
from lossbench.extensions import VARIABLE, extend, extend_once
from lossbench.losses import register
from lossbench.records import Record
from lossbench.study import plan_losses

pytestmark = pytest.mark.usefixtures("leave_no_trace")

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


def tiny(**changes: object) -> RunConfig:
    return RunConfig.from_dict({"dataset": "shapes", "epochs": 1, "train_size": 40, **changes})


def in_another_process(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ)).stdout.strip()


def test_a_loss_of_a_file_is_one_like_all_others(own_losses: Path) -> None:
    extend(own_losses)
    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    expected = 3 * torch.nn.functional.cross_entropy(logits, target)
    torch.testing.assert_close(Criterion("scaled", scale=3.0)(logits, target), expected)
    assert tiny(loss="scaled").label == "scaled scale=2"


def test_a_changed_file_is_loaded_anew_and_its_runs_have_other_names(own_losses: Path) -> None:
    extend(own_losses)
    before = tiny(loss="scaled").run_id
    extend(own_losses)
    assert tiny(loss="scaled").run_id == before
    own_losses.write_text(SOURCE.replace("-scale *", "-scale**2 *"), encoding="utf-8")
    extend(own_losses)
    assert tiny(loss="scaled").run_id != before
    assert Criterion("scaled", scale=3.0)(torch.zeros(2, 2), torch.tensor([0, 1])).item() == pytest.approx(6.2383, 1e-4)


def test_other_processes_give_the_run_the_same_name(own_losses: Path) -> None:
    extend(own_losses)
    code = "from lossbench import RunConfig; print(RunConfig(loss='scaled', seed=3).run_id)"
    assert in_another_process(code) == RunConfig(loss="scaled", seed=3).run_id


def test_no_name_of_a_run_without_extensions_changes(own_losses: Path) -> None:
    before = RunConfig(loss="focal", seed=3).run_id
    extend(own_losses)
    assert RunConfig(loss="focal", seed=3).run_id == before


@pytest.mark.parametrize("engine", ["process", pytest.param("papermill", marks=pytest.mark.slow), "ensemble"])
def test_a_study_trains_it(engine: str, own_losses: Path, tmp_path: Path) -> None:
    extend(own_losses)
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


def test_a_machine_with_another_version_of_the_file_refuses(own_losses: Path, tmp_path: Path) -> None:
    extend(own_losses)
    config = tiny(loss="scaled")
    task = {
        "config": config.to_dict(),
        "run_id": config.run_id,
        "output": str(tmp_path),
        "extensions": [str(own_losses)],
    }
    own_losses.write_text(SOURCE.replace("scale: float = 2.0", "scale: float = 2.5"), encoding="utf-8")
    code = f"from lossbench.worker import perform; print(perform({task!r}, print, lambda: False))"
    assert "another version of its loss" in in_another_process(code)
    assert not (tmp_path / "runs").exists()


def test_the_records_are_read_where_the_loss_is_not_known(own_losses: Path, tmp_path: Path) -> None:
    extend(own_losses)
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


def test_a_file_that_fails_leaves_nothing_behind(own_losses: Path) -> None:
    own_losses.write_text(SOURCE + "\nraise RuntimeError('half way')\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match="half way") as caught:
        extend(own_losses)
    assert any(str(own_losses) in note for note in caught.value.__notes__)
    assert "scaled" not in LOSSES
    assert not os.environ[VARIABLE]


def test_a_file_that_was_broken_by_a_change_leaves_what_it_was(own_losses: Path) -> None:
    extend(own_losses)
    entry = LOSSES["scaled"]
    own_losses.write_text("this is no Python", encoding="utf-8")
    with pytest.raises(SyntaxError):
        extend(own_losses)
    assert LOSSES["scaled"] is entry


def test_a_name_that_is_taken_is_refused(own_losses: Path) -> None:
    own_losses.write_text(SOURCE.replace("def scaled", "def focal"), encoding="utf-8")
    ours = LOSSES["focal"]
    with pytest.raises(ValueError, match="a loss named 'focal' is registered already"):
        extend(own_losses)
    assert LOSSES["focal"] is ours


def test_what_is_no_file_of_python_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file 'nowhere\.py'"):
        extend("nowhere.py")
    (tmp_path / "losses.txt").write_text(SOURCE, encoding="utf-8")
    with pytest.raises(ValueError, match="is a Python file"):
        extend(tmp_path / "losses.txt")
    assert "scaled" not in LOSSES


def test_a_file_that_the_environment_names_and_that_is_gone_is_said(
    own_losses: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_losses.unlink()
    monkeypatch.setenv(VARIABLE, str(own_losses))
    with pytest.raises(FileNotFoundError, match=f"my_losses.py.*the environment's {VARIABLE} asks for it"):
        extensions.extend_inherited()


def test_the_command_line_knows_the_files_that_the_environment_names(
    own_losses: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, str(own_losses))
    options = "run --dataset shapes --epochs 1 --set train_size=40 --loss scaled --output"
    command = [sys.executable, "-m", "lossbench", *options.split(), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert load_runs(tmp_path)["label"].tolist() == ["scaled scale=2"]


def test_a_worker_loads_a_file_once(own_losses: Path) -> None:
    extend_once([str(own_losses)])
    entry = LOSSES["scaled"]
    extend_once([str(own_losses)])
    assert LOSSES["scaled"] is entry


def test_only_the_version_of_a_users_function_is_told() -> None:
    assert extensions.digest(LOSSES["focal"].function) is None
    assert extensions.digest(register) is None
    assert extensions.digest(tiny) != extensions.digest(in_another_process)
