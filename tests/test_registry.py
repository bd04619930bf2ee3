"""Losses in files of the user's own: every process of a study knows them, and their versions are told apart."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from killing import COMMAND, start_anew

from conftest import SOURCE
from lossbench import LOSSES, MODELS, Criterion, RunConfig, load_runs, registry
from lossbench.records.record import Record
from lossbench.registry import VARIABLE, extend, extend_once
from lossbench.studies.execute import run_configs
from lossbench.studies.plans import plan_losses

pytestmark = pytest.mark.usefixtures("leave_no_trace")

PROBABILITY = '''
from lossbench.losses.probabilities import register_probability


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


@pytest.fixture
def in_another_process(tmp_path: Path) -> Callable[..., str]:
    """What `code`, or the command line with these words, prints in a process that knows only the environment."""

    def start(code: str = COMMAND, words: str = "", expected: int = 0, folder: Path | None = None) -> str:
        log = tmp_path / f"log{len(list(tmp_path.glob('log*')))}"
        assert start_anew(code, *words.split(), folder=folder, log=log) == expected, log.read_text()
        return log.read_text().strip()

    return start


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


def test_other_processes_give_the_run_the_same_name(own_losses: Path, in_another_process: Callable[..., str]) -> None:
    extend(own_losses)
    code = "from lossbench import RunConfig; print(RunConfig(loss='scaled', seed=3).run_id)"
    assert in_another_process(code) == RunConfig(loss="scaled", seed=3).run_id


def test_no_name_of_a_run_without_extensions_changes(own_losses: Path) -> None:
    before = RunConfig(loss="focal", seed=3).run_id
    extend(own_losses)
    assert RunConfig(loss="focal", seed=3).run_id == before


@pytest.mark.parametrize("engine", ["process", "ensemble"])  # the others: test_own.py
def test_a_study_trains_a_loss_and_a_probability_function_of_a_file(
    engine: str, own_losses: Path, tmp_path: Path
) -> None:
    own_losses.write_text(SOURCE + PROBABILITY, encoding="utf-8")
    extend(own_losses)
    plan = plan_losses([("scaled", {}), ("scaled", {"scale": 1.0})], ["shapes"], 1, {"epochs": 1, "train_size": 40})
    plan.append(tiny(probability="plain"))
    summary = run_configs(plan, tmp_path, engine=engine, workers=2, show_progress=False)
    assert not summary.failed
    assert summary.finished == 4
    nll = load_runs(tmp_path).set_index(["label", "probability"])["test_nll"].to_dict()
    assert {label for label, _ in nll} == {"cross_entropy", "scaled scale=2", "scaled scale=1"}
    assert nll["scaled scale=1", "softmax"] == pytest.approx(nll["cross_entropy", "softmax"], abs=1e-5)
    assert nll["cross_entropy", "plain"] == pytest.approx(nll["cross_entropy", "softmax"], abs=1e-5)


def test_a_machine_with_another_version_of_the_file_refuses(
    own_losses: Path, tmp_path: Path, in_another_process: Callable[..., str]
) -> None:
    extend(own_losses)
    config = tiny(loss="scaled")
    task = {
        "config": config.to_dict(),
        "run_id": config.run_id,
        "output": str(tmp_path),
        "extensions": [str(own_losses)],
    }
    own_losses.write_text(SOURCE.replace("] = 2.0", "] = 2.5"), encoding="utf-8")
    code = f"from lossbench.studies.worker import perform; print(perform({task!r}, print, lambda: False))"
    assert "another version of its loss" in in_another_process(code)
    assert not (tmp_path / "runs").exists()


def test_the_records_are_read_where_the_loss_is_not_known(
    own_losses: Path, tmp_path: Path, in_another_process: Callable[..., str]
) -> None:
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
    with pytest.raises(ValueError, match=r"my_losses\.py:\d+: RuntimeError: half way") as caught:
        extend(own_losses)
    assert "\n" not in str(caught.value)
    assert "scaled" not in LOSSES
    assert not os.environ[VARIABLE]


def test_a_file_that_was_broken_by_a_change_leaves_what_it_was(own_losses: Path) -> None:
    extend(own_losses)
    entry = LOSSES["scaled"]
    own_losses.write_text("this is no Python", encoding="utf-8")
    with pytest.raises(ValueError, match=r"my_losses\.py:1: SyntaxError"):
        extend(own_losses)
    assert LOSSES["scaled"] is entry


def test_a_name_that_is_taken_is_refused(own_losses: Path) -> None:
    own_losses.write_text(SOURCE.replace("def scaled", "def focal"), encoding="utf-8")
    ours = LOSSES["focal"]
    with pytest.raises(ValueError, match=r"my_losses\.py:\d+: a loss named 'focal' is registered already"):
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
        registry.extend_inherited()


def test_the_command_line_knows_the_files_that_the_environment_names(
    own_losses: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_another_process: Callable[..., str]
) -> None:
    monkeypatch.setenv(VARIABLE, str(own_losses))
    run = f"run --dataset shapes --epochs 1 --set train_size=40 --loss scaled --output {tmp_path}"
    in_another_process(words=run)
    assert load_runs(tmp_path)["label"].tolist() == ["scaled scale=2"]


def test_a_file_that_the_option_and_the_environment_name_is_loaded_once(
    own_losses: Path, monkeypatch: pytest.MonkeyPatch, in_another_process: Callable[..., str]
) -> None:
    monkeypatch.setenv(VARIABLE, str(own_losses))
    assert "scaled" in in_another_process(words=f"list losses --extend {own_losses}")


def test_a_worker_loads_a_file_once(own_losses: Path) -> None:
    extend_once([str(own_losses)])
    entry = LOSSES["scaled"]
    extend_once([str(own_losses)])
    assert LOSSES["scaled"] is entry


def test_only_the_version_of_a_users_entry_is_told(own_losses: Path) -> None:
    extend(own_losses)
    assert LOSSES.version("focal") is None
    assert MODELS.version("convnet_relu") is None
    assert len(LOSSES.version("scaled") or "") == 64


BESIDE = {
    "my_losses.py": SOURCE.replace("-scale *", "-factor(scale) *") + "\nfrom helpers.scaling import factor\n",
    "helpers/__init__.py": "",
    "helpers/scaling.py": "from . import numbers_of_mine\nfactor = lambda scale: numbers_of_mine.ONE * scale\n",
    "helpers/numbers_of_mine.py": "ONE = 1.0\n",
    "unrelated.py": "ONE = 1.0\n",
}


@pytest.fixture
def beside(leave_no_trace: None, tmp_path: Path) -> Path:
    """A file that imports a package from beside it, which imports another module."""
    for name, text in BESIDE.items():
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_text(text, encoding="utf-8")
    return tmp_path / "mine" / "my_losses.py"


def loss_of_two() -> float:
    return float(Criterion("scaled", scale=3.0)(torch.zeros(2, 2), torch.tensor([0, 1]))) / math.log(2)


def test_what_a_file_imports_from_beside_it_is_part_of_the_runs_name(beside: Path) -> None:
    extend(beside)
    before = tiny(loss="scaled").run_id
    assert loss_of_two() == pytest.approx(3)
    (beside.parent / "unrelated.py").write_text("ONE = 2.0\n", encoding="utf-8")
    extend(beside)
    assert tiny(loss="scaled").run_id == before
    (beside.parent / "helpers" / "numbers_of_mine.py").write_text("ONE = 2.0\n", encoding="utf-8")
    extend(beside)
    assert tiny(loss="scaled").run_id != before
    assert loss_of_two() == pytest.approx(6)
    assert not list(beside.parent.rglob("__pycache__"))


def test_an_edit_of_the_same_size_in_the_same_second_is_what_runs(own_losses: Path) -> None:
    ids = set()
    for digit in (3, 4, 5):
        own_losses.write_text(SOURCE.replace("-scale *", f"-{digit} *"), encoding="utf-8")
        os.utime(own_losses, (1_700_000_000, 1_700_000_000))
        extend(own_losses)
        assert loss_of_two() == pytest.approx(digit)
        ids.add(tiny(loss="scaled").run_id)
    assert len(ids) == 3
    assert not list(own_losses.parent.rglob("*.pyc"))


def test_the_command_finds_a_module_beside_the_file(
    beside: Path, tmp_path: Path, in_another_process: Callable[..., str]
) -> None:
    options = f"run --dataset shapes --epochs 1 --set train_size=40 --loss scaled:scale=1 --extend {beside} --output "
    in_another_process(words=f"{options}{tmp_path / 'out'}", folder=tmp_path)
    (record,) = (tmp_path / "out" / "runs").iterdir()
    extend(beside)
    assert record.name == tiny(loss="scaled", loss_params={"scale": 1.0}).run_id


def test_two_files_with_one_neighbour_share_it_and_others_must_be_renamed(beside: Path, tmp_path: Path) -> None:
    other = beside.with_name("others.py")
    other.write_text("from helpers.scaling import factor\n", encoding="utf-8")
    extend(beside, other)
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "helpers").mkdir(parents=True)
    (elsewhere / "helpers" / "__init__.py").write_text("", encoding="utf-8")
    (elsewhere / "more.py").write_text("import helpers\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"helpers.__init__\.py has the name of another .*; rename it"):
        extend(elsewhere / "more.py")
    assert loss_of_two() == pytest.approx(3)


OTHERS = """
from dataclasses import replace
from functools import partial

import torch

from lossbench import MODELS
from lossbench.data import AUGMENTATIONS
from lossbench.training.loop import OPTIMIZERS

RATE = 0.5
MODELS["mine"] = replace(MODELS["small_cnn"], name="mine", dropout=0.5)
AUGMENTATIONS["darker"] = lambda images, generator: images * RATE
OPTIMIZERS["my_adamw"] = partial(torch.optim.AdamW, foreach=False)
"""


@pytest.mark.usefixtures("forked_workers")
def test_networks_augmentations_and_optimizers_of_a_file_are_part_of_the_runs_name(
    leave_no_trace: None, tmp_path: Path
) -> None:
    settings: list[dict[str, object]] = [{"model": "mine"}, {"augmentation": "darker"}, {"optimizer": "my_adamw"}]
    path = tmp_path / "others.py"
    path.write_text(OTHERS, encoding="utf-8")
    extend(path)
    before = [tiny(**setting) for setting in settings]
    assert run_configs(before, tmp_path, show_progress=False).finished == 3
    path.write_text(OTHERS.replace("0.5", "0.6"), encoding="utf-8")
    extend(path)
    for setting, old in zip(settings, before, strict=True):
        after = tiny(**setting)
        assert after.run_id != old.run_id
        assert not Record.of(after, tmp_path).finished
        assert len(after.run_id.rpartition("-")[2]) == 16


def test_a_network_of_a_cell_is_refused_by_engines_with_other_processes(leave_no_trace: None, tmp_path: Path) -> None:
    MODELS["mine"] = replace(MODELS["small_cnn"], name="mine", dropout=0.5)
    with pytest.raises(ValueError, match="model 'mine' is known to this process only"):
        run_configs([tiny(model="mine")], tmp_path, show_progress=False)
    before = tiny(model="mine").run_id
    MODELS["mine"] = replace(MODELS["small_cnn"], name="mine", dropout=0.6)
    assert tiny(model="mine").run_id != before


def test_a_path_with_a_colon_reaches_the_workers(
    leave_no_trace: None, tmp_path: Path, in_another_process: Callable[..., str]
) -> None:
    path = tmp_path / "x:y" / "my_losses.py"
    path.parent.mkdir()
    path.write_text(SOURCE, encoding="utf-8")
    extend(path)
    code = "from lossbench import RunConfig; print(RunConfig(loss='scaled').run_id)"
    assert in_another_process(code) == RunConfig(loss="scaled").run_id
    os.environ[VARIABLE] = str(path)  # as typed by hand
    assert in_another_process(code) == RunConfig(loss="scaled").run_id


OWN_OF_BOTH_KINDS = """
import torch
from lossbench.losses import register
from lossbench.losses.probabilities import register_probability

@register
def edited(log_probs, target):
    return -FACTOR * log_probs.gather(1, target[:, None]).squeeze(1)

@register_probability(title="edited", marker="o")
def edited_softmax(logits, target=None):
    return (FACTOR * logits).log_softmax(1)
"""


def test_what_was_computed_with_a_formula_is_forgotten_with_it(leave_no_trace: None, tmp_path: Path) -> None:
    from lossbench.explorer import side
    from lossbench.explorer.tables import batch_table, loss_table, probability_table
    from lossbench.losses.curves import curves
    from lossbench.studies.space import first_pull

    path, found = tmp_path / "edited.py", []
    for factor in "24":
        path.write_text(OWN_OF_BOTH_KINDS.replace("FACTOR", factor), encoding="utf-8")
        extend(path)
        loss, probability = side("edited"), side("cross_entropy", probability="edited_softmax")
        tables = [loss_table(loss, 10), batch_table(loss), probability_table(probability)]
        found.append([*map(repr, tables), repr(curves(probability, axis="z")), first_pull("edited", {}, "shapes")])
    assert found[0][-1] * 2 == pytest.approx(found[1][-1])
    assert all(old != new for old, new in zip(*found, strict=True))


def test_files_typed_by_hand_as_in_path_are_still_read(
    own_losses: Path, in_another_process: Callable[..., str]
) -> None:
    other = own_losses.with_name("more.py")
    other.write_text(SOURCE.replace("scaled", "more"), encoding="utf-8")
    os.environ[VARIABLE] = os.pathsep.join([str(own_losses), str(other)])
    assert in_another_process("from lossbench import LOSSES; print('scaled' in LOSSES and 'more' in LOSSES)") == "True"


BROKEN = {
    "import sys\nsys.exit(0)\n": r"error: .*broken\.py:2: sys\.exit\(0\) while lossbench loads the file",
    "import nowhere_at_all\n": r"error: .*broken\.py:1: ModuleNotFoundError: No module named 'nowhere_at_all'",
    "def f(:\n": r"error: .*broken\.py:1: SyntaxError: ",
    "from lossbench.losses import register\n@register\ndef mine(a, b): ...\n": r"error: .*broken\.py:2: mine must take",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_is_one_line_and_exit_code_2(
    text: str, leave_no_trace: None, tmp_path: Path, in_another_process: Callable[..., str]
) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text, encoding="utf-8")
    said = in_another_process(words=f"run --dataset shapes --output {tmp_path / 'out'} --extend {path}", expected=2)
    assert re.fullmatch(BROKEN[text] + ".*", said)


def test_a_broken_file_that_the_environment_names_is_one_line_and_exit_code_2(
    leave_no_trace: None, tmp_path: Path
) -> None:
    text = next(iter(BROKEN))  # the one that would end the program
    (tmp_path / "broken.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "lossbench", "run", "--dataset", "shapes", "--output", str(tmp_path / "out")]
    env = dict(os.environ) | {VARIABLE: str(tmp_path / "broken.py")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(BROKEN[text] + ".*", done.stderr.strip())


LEAVES = {  # what a loss does in its first line -> what the command says
    "return log_probs[:, :1] + over": r"error: scaled must return a loss for each sample, .* \(32, 32\): add up .*",
    "raise SystemExit(0)\n    return over": r"error: scaled called sys\.exit\(0\).*",
}


@pytest.mark.parametrize("does", LEAVES)
def test_a_loss_that_returns_a_column_or_leaves_python_is_an_error_of_one_line(
    does: str, own_losses: Path, tmp_path: Path, in_another_process: Callable[..., str]
) -> None:
    own_losses.write_text(SOURCE.replace("return over", does), encoding="utf-8")
    options = f"run --dataset shapes --loss scaled --extend {own_losses} --output {tmp_path / 'out'}"
    assert re.fullmatch(LEAVES[does], in_another_process(words=options, expected=2))
