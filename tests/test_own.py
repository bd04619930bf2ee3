"""What a user brings: networks, data sets, metrics and losses of a file, checked, trained by every engine, resumed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec as find_module
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import fork, quick_workers, wait_for
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torch import nn

from conftest import Command, parse_command
from lossbench import MODELS, RunConfig, load_runs, run, stats
from lossbench.data import load
from lossbench.records.record import Record
from lossbench.registry import extend
from lossbench.stats import metrics
from lossbench.studies.execute import run_configs
from lossbench.studies.plans import TUNABLE, plan_losses
from lossbench.training.checking import check_file

pytestmark = pytest.mark.usefixtures("leave_no_trace")

MINE = '''
import numpy as np
from torch import nn

from lossbench import register, register_dataset, register_metric, register_model


@register_dataset(class_names=("dark", "bright"))
def shades():
    rng = np.random.default_rng(0)
    target = np.arange(240) % 2
    images = (rng.integers(0, 156, (240, 8, 8)) + 20 * target[:, None, None]).astype(np.uint8)
    return images[:160], target[:160], images[160:], target[160:]


@register_model
def two_layers(in_channels, num_outputs, image_size):
    pixels = in_channels * image_size**2
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, 16), nn.ReLU(), nn.Linear(16, num_outputs))


@register_metric
def bright_recall(log_probs, target):
    """Share of the bright images that is recognised."""
    return float((log_probs[target == 1].argmax(1) == 1).mean())


@register
def half_focal(log_probs, target, *, gamma=0.5):
    log_p = log_probs.gather(1, target[:, None]).squeeze(1)
    return -((1 - log_p.exp().clamp(max=0.999)) ** gamma) * log_p
'''


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE, encoding="utf-8")
    return path


SETTINGS = {"model": "two_layers", "epochs": 4, "metrics": ["bright_recall", "balanced_accuracy"]}


def plan_of_mine() -> list[RunConfig]:
    return plan_losses([("half_focal", {})], ["shades"], 3, SETTINGS)


COMPARED = ["test_accuracy", "test_nll", "test_bright_recall", "test_balanced_accuracy"]


def scores(output: Path) -> dict[str, dict[str, float]]:
    table = load_runs(output).set_index("run_id")
    return table[COMPARED].to_dict("index")


@pytest.fixture
def unbroken(mine: Path, tmp_path: Path) -> dict[str, dict[str, float]]:
    """What the runs come to in this process, each in one go."""
    extend(mine)
    for config in plan_of_mine():
        run(config, tmp_path / "unbroken")
    return scores(tmp_path / "unbroken")


def test_a_study_of_own_parts_that_is_killed_ends_as_if_nothing_had_happened(
    unbroken: dict[str, dict[str, float]], tmp_path: Path
) -> None:
    plan, output = plan_of_mine(), tmp_path / "process"

    def study() -> None:
        quick_workers()
        run_configs(plan, output, workers=1, show_progress=False)

    child = fork(study)
    wait_for(lambda: any(output.glob("runs/*/result.json")) or child.poll() is not None)
    assert child.kill(), "it still had runs to do"
    assert len(load_runs(output)) < len(plan)
    assert fork(study).wait() == 0
    assert len(unbroken) == 6
    assert scores(output) == unbroken
    table = load_runs(output).set_index("run_id")
    for run_id, row in table.iterrows():
        target, log_probs = Record(output / "runs" / str(run_id)).predictions
        assert row["test_bright_recall"] == (log_probs[target == 1].argmax(1) == 1).mean()
        assert row["test_balanced_accuracy"] == pytest.approx(balanced_accuracy_score(target, log_probs.argmax(1)))
    (row,) = stats.compare(load_runs(output), "test_bright_recall").to_dict("records")
    assert (row["label"], row["n"]) == ("half_focal", 3)


needs_ray = pytest.mark.skipif(find_module("ray") is None, reason="needs Ray: pip install 'lossbench[ray]'")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["papermill", pytest.param("ray", marks=needs_ray)])
def test_own_parts_are_known_to_executed_notebooks_and_tasks_of_ray(
    engine: str, unbroken: dict[str, dict[str, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    summary = run_configs(plan_of_mine()[:2], tmp_path / engine, engine=engine, workers=2, show_progress=False)
    assert (summary.finished, summary.failed) == (2, {})
    assert scores(tmp_path / engine).items() <= unbroken.items()


def random_scores(classes: int = 4, images: int = 90) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    target = rng.integers(0, classes, images)
    logits = rng.normal(size=(images, classes)) + 1.5 * np.eye(classes)[target]
    return torch.tensor(logits).log_softmax(1).numpy(), target


@pytest.mark.parametrize("classes", [2, 4])
def test_metrics_agree_with_scikit_learn(classes: int) -> None:
    log_probs, target = random_scores(classes)
    probabilities = np.exp(log_probs)
    expected = roc_auc_score(
        np.eye(classes)[target] if classes > 2 else target,
        probabilities if classes > 2 else probabilities[:, 1],
        average="macro",
    )
    assert metrics.auroc(log_probs, target) == pytest.approx(expected, abs=1e-12)
    ties = np.log(np.round(probabilities, 1) + 1e-3)
    assert metrics.auroc(ties, target) == pytest.approx(
        np.mean([roc_auc_score(target == label, ties[:, label]) for label in range(classes)]), abs=1e-12
    )
    expected = balanced_accuracy_score(target, log_probs.argmax(1))
    assert metrics.balanced_accuracy(log_probs, target) == pytest.approx(expected, abs=1e-12)


def test_a_finished_run_gets_a_new_metric_from_its_predictions(mine: Path, tmp_path: Path) -> None:
    extend(mine)
    config = RunConfig(dataset="shades", model="two_layers", epochs=1)
    first = run(config, tmp_path)
    history = (first.path / "history.csv").read_bytes()
    assert "metrics" not in first.result
    again = RunConfig.from_dict({**config.to_dict(), "metrics": ["auroc"]})
    assert run(again, tmp_path, progress=lambda row: pytest.fail("trained again")).path == first.path
    target, log_probs = first.predictions
    assert load_runs(tmp_path)["test_auroc"].item() == pytest.approx(roc_auc_score(target, np.exp(log_probs)[:, 1]))
    other = RunConfig.from_dict({**config.to_dict(), "metrics": ["balanced_accuracy"]})
    summary = run_configs([other], tmp_path, show_progress=False)
    assert (summary.skipped, summary.finished) == (1, 0)
    assert {"test_auroc", "test_balanced_accuracy"} <= set(load_runs(tmp_path))
    assert (first.path / "history.csv").read_bytes() == history


def test_a_metric_that_fails_after_the_training_is_named_and_costs_no_run(mine: Path, tmp_path: Path) -> None:
    fails = "\n\n@register_metric\ndef fails_on_80(log_probs, target):\n    return 1 / (len(target) != 80)\n"
    mine.write_text(MINE + fails, encoding="utf-8")
    extend(mine)
    config = RunConfig(dataset="shades", model="two_layers", epochs=1, metrics=("fails_on_80", "auroc"))
    with pytest.warns(UserWarning, match="metric fails_on_80 raised ZeroDivisionError.*the record is without it"):
        record = run(config, tmp_path)
    assert record.result["status"] == "finished"
    assert record.result["test_fails_on_80"] is None
    assert "ZeroDivisionError" in record.result["metrics"]["fails_on_80"]["missing"]
    assert load_runs(tmp_path)["test_auroc"].notna().all()


@pytest.mark.parametrize(
    ("value", "message"),
    [("1 / 0", "raised ZeroDivisionError"), ("float('nan')", "returned nan"), ("target", "returned array")],
)
def test_a_metric_that_cannot_work_is_refused_before_training(
    mine: Path, tmp_path: Path, value: str, message: str
) -> None:
    mine.write_text(f"{MINE}\n\n@register_metric\ndef bad(log_probs, target):\n    return {value}\n", encoding="utf-8")
    extend(mine)
    config = RunConfig(dataset="shades", model="two_layers", epochs=1, metrics=("bad",))
    with pytest.raises(ValueError, match=f"metric bad {message}.*mend it or leave it out"):
        run(config, tmp_path, progress=lambda row: pytest.fail("trained"))
    with pytest.raises(ValueError, match=f"metric bad {message}"):
        run_configs([config], tmp_path / "study", show_progress=False)


def test_a_network_of_torchvision_has_the_outputs_and_embeddings_that_a_run_needs() -> None:
    torch.manual_seed(0)
    model = MODELS["torchvision:resnet18"](7, 1, image_size=28).eval()
    images = torch.rand(3, 1, 28, 28)
    output = model(images)
    assert output.logits.shape == (3, 7)
    assert output.embeddings.shape == (3, 512)
    torch.testing.assert_close(model.head(output.embeddings), output.logits)
    assert MODELS["torchvision:resnet18"].find_embedding_dim(1, 28) == 512


def test_a_network_whose_last_layer_is_not_linear_trains_on_logits_and_refuses_embeddings(tmp_path: Path) -> None:
    entry = MODELS["torchvision:squeezenet1_1"]
    assert entry.find_embedding_dim(3, 64) is None
    MODELS["no_head"] = type(entry)("no_head", pooled, 0, 0, "", "")
    with pytest.raises(ValueError, match="triplet works on embeddings and model 'no_head' gives none"):
        run(RunConfig(dataset="shapes", model="no_head", loss="triplet", epochs=1), tmp_path)
    config = RunConfig(dataset="shapes", model="no_head", epochs=1, train_size=64)
    assert run(config, tmp_path).result["status"] == "finished"


def pooled(num_outputs: int, in_channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_channels, num_outputs, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("torchvision:resnt18", r"unknown network of torchvision 'resnt18'; did you mean 'resnet18'"),
        ("keras:resnet18", r"unknown library of networks 'keras'; choose from torchvision, timm"),
        pytest.param(
            "timm:resnet18",
            r"needs the package timm; install it with pip install 'lossbench\[timm\]'",
            marks=pytest.mark.skipif(find_module("timm") is not None, reason="timm is here"),
        ),
    ],
)
def test_a_network_that_no_library_has_is_refused_by_the_config(model: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunConfig(model=model)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("nn.Sequential(nn.Flatten(), nn.LazyLinear(9))", r"into logits of shape \(2, 4\), got \(2, 9\)"),
        ("nn.Conv2d(5, num_outputs, 3)", r"cannot take images of 1 x 16 x 16 \(RuntimeError: .*channels"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_before_training(
    mine: Path, tmp_path: Path, body: str, message: str
) -> None:
    mine.write_text(f"{MINE}\n\n@register_model\ndef odd(num_outputs):\n    return {body}\n", encoding="utf-8")
    extend(mine)
    with pytest.raises(ValueError, match=f"model 'odd' .*{message}"):
        run(RunConfig(dataset="shapes", model="odd"), tmp_path, progress=lambda row: pytest.fail("trained"))


HELP = """
import torch
from lossbench import register, register_metric, register_model
from lossbench.losses.probabilities import register_probability

def pick(log_probs, target):
    return log_probs.gather(1, target[:, None]).squeeze(1)

class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, slope):
        return 2 * slope
"""
FAULTS = [  # what the function returns, whether it is wrong, and what is said of it
    ("-log_probs.gather(1, target[:, None])", True, r"take the last axis away with \.squeeze\(1\)"),
    ("-pick(log_probs, target).mean()", True, "leave the mean to Criterion's reduction"),
    ("-pick(log_probs, target).log()", True, r"log_probs are logarithms of probabilities, all <= 0; take \.exp"),
    ("1 / (1 - pick(log_probs, target).exp() + 1e-9) * 0 - (pick(log_probs, target).exp()).log()", True, "not finite"),
    ("-pick(log_probs, target).detach()", True, "has no gradient"),
    ("-pick(log_probs.mul_(2), target)", True, "changes its log_probs in place"),
    ("Doubled.apply(-pick(log_probs, target))", True, "finite differences in float64 do not confirm"),
    ("pick(log_probs, target)", True, "a minus is missing"),
    ("-pick(log_probs, target) * (1 + target)", False, "depends on the order of the classes"),
    ("-pick(log_probs, target) / log_probs.mean().abs()", False, "depends on the other samples of the batch"),
    ("-pick(log_probs, target) * torch.rand(len(target))", False, "is random"),
    ("-pick(log_probs, target)", False, ""),
]


@pytest.mark.parametrize(("returned", "wrong", "message"), FAULTS, ids=[row[0] for row in FAULTS])
def test_a_check_says_what_is_wrong_with_a_loss(tmp_path: Path, returned: str, wrong: bool, message: str) -> None:
    path = tmp_path / "own.py"
    path.write_text(f"{HELP}\n\n@register\ndef own(log_probs, target):\n    return {returned}\n", encoding="utf-8")
    ((title, findings),) = check_file(path)
    assert title == "loss own"
    assert any(finding.wrong for finding in findings) == wrong
    text = "\n".join(finding.text for finding in findings)
    assert bool(text) == bool(message)
    assert re.search(message, text)


def test_the_command_names_each_thing_and_ends_with_2_where_one_is_wrong(mine: Path, command: Command) -> None:
    done = command("check", mine)
    assert done.returncode == 0
    names = ("dataset shades", "loss half_focal", "metric bright_recall", "model two_layers")
    assert sorted(done.stdout.splitlines()) == [f"{name}: all right" for name in names]
    mine.write_text(MINE.replace("[160:]", "[160:164]").replace("0, 156", "0, 300"), encoding="utf-8")
    done = command("check", mine)
    assert done.returncode == 2
    assert "dataset shades: WRONG" in done.stdout
    assert "1 to mend" in done.stderr


def test_a_data_set_that_differs_at_each_call_or_has_one_class_is_named(mine: Path) -> None:
    for text, message in (
        (MINE.replace("default_rng(0)", "default_rng()"), "makes other images at each call"),
        (MINE.replace("np.arange(240) % 2", "np.zeros(240, int)"), "training images of one class only"),
        (MINE.replace(".astype(np.uint8)", "/ 255"), "images must be uint8"),
    ):
        mine.write_text(text, encoding="utf-8")
        found = dict(check_file(mine))["dataset shades"]
        assert message in " ".join(finding.text for finding in found if finding.wrong)


def test_validation_images_that_a_data_set_of_ones_own_adds_choose_the_epoch(
    mine: Path, tmp_path: Path, leave_no_trace: None
) -> None:
    six = "return images[:160], target[:160], images[200:], target[200:], images[160:200], target[160:200]"
    mine.write_text(
        MINE.replace("return images[:160], target[:160], images[160:], target[160:]", six), encoding="utf-8"
    )
    extend(mine)
    dataset = load("shades")
    assert (len(dataset.train), len(dataset.test), len(dataset.validation or ())) == (160, 40, 40)
    result = run(RunConfig(dataset="shades", epochs=1), tmp_path / "runs").result
    assert (result["train_images"], result["test_images"]) == (160, 40), "none of the training images is held out"
    mine.write_text(
        MINE.replace("images[160:], target[160:]", "images[160:], target[160:], images[:9, :5], target[:9]")
    )
    found = dict(check_file(mine))["dataset shades"]
    assert "validation images of (5, 8); give one shape" in " ".join(finding.text for finding in found if finding.wrong)


def test_a_file_that_registers_nothing_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "forgotten.py"
    path.write_text("def mine(log_probs, target):\n    return -log_probs[:, 0]\n", encoding="utf-8")
    with pytest.warns(UserWarning, match=r"forgotten\.py was read and registers nothing: put @register over a loss"):
        extend(path)


FIRST = """from lossbench import register
@register
def first(log_probs, target, power=2.0):
    p = log_probs.gather(1, target[:, None]).squeeze(1).exp()
    return (1 - p) ** power
"""


def test_five_lines_are_a_loss(tmp_path: Path) -> None:
    path = tmp_path / "first.py"
    path.write_text(FIRST, encoding="utf-8")
    assert len(FIRST.splitlines()) == 5
    options = "run --dataset shapes --epochs 1 --set train_size=40 --loss first:power=1 --extend first.py --output out"
    command = [sys.executable, "-m", "lossbench", *options.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "out" / "runs").iterdir()
    assert json.loads((record / "result.json").read_text())["loss_params"] == {"power": 1.0}


# docs/your_own.md: its blocks are one file, which does what the page says.

PAGE = (Path(__file__).parents[1] / "docs" / "your_own.md").read_text(encoding="utf-8")


def test_the_blocks_of_the_page_are_one_file_that_is_all_right_and_trains(tmp_path: Path, command: Command) -> None:
    path = tmp_path / "mine.py"
    path.write_text("\n\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)), encoding="utf-8")
    (expected,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    done = command("check", path)
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == sorted(expected.splitlines())
    values = {
        "dataset": "shades", "model": "two_layers", "loss": "power_loss", "augmentation": "darker", "epochs": 1,
        "optimizer": "slow_adam", "metrics": ["bright_recall", "auroc"],
    }  # fmt: skip
    run(RunConfig.from_dict(values), tmp_path)
    assert load_runs(tmp_path)[["test_bright_recall", "test_auroc"]].notna().all().all()


@pytest.mark.parametrize("line", re.findall(r"^(lossbench .+)$", PAGE, re.MULTILINE))
def test_every_command_of_the_page_is_one_that_the_command_line_takes(line: str) -> None:
    parse_command(line.split())


def test_the_settings_that_the_page_says_a_loss_may_have_of_its_own_are_these() -> None:
    (sentence,) = re.findall(r"of its own are (.*?)\.", PAGE, re.DOTALL)
    assert re.findall(r"`(\w+)`", sentence) == list(TUNABLE)
