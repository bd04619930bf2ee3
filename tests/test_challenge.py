"""A challenger: its code sees logits and targets only, its seeds come from hashes, its verdict can be checked."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from killing import quick_workers
from scipy import stats as scipy_stats
from typer.testing import CliRunner

from lossbench import LOSSES, Criterion, RunConfig, extend, registry, run
from lossbench.cli import app
from lossbench.losses.criterion import BadLoss
from lossbench.records.declaration import declared_tuned
from lossbench.registry import Extension
from lossbench.report.challenge import build
from lossbench.studies import challenge
from lossbench.training import locked

CHALLENGERS = Path(__file__).parent / "challengers"


def opened(folder: Path, text: str) -> locked.Nursery:
    """The nursery of a code."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "challenger.py").write_text(text, encoding="utf-8")
    return locked.nursery(folder, challenge.digest_of({"challenger.py": text}))


def value(session: locked.Session) -> float:
    return session.forward(torch.zeros(2, 3), torch.tensor([0, 1]), 1, 1)[0].item()


# Each returns 7 where it got something, and hides that it was refused.
ATTEMPTS = {
    "opens": "import builtins; found = builtins.open(DATA, 'rb').read(4)",
    "opens_low": "import os; found = os.read(os.open(DATA, os.O_RDONLY), 4)",
    "lists": "import os; found = os.listdir('/')",
    "reads_numpy": "import numpy; found = numpy.fromfile(DATA, dtype='uint8')",
    "maps": "import numpy; found = numpy.memmap(DATA)",
    "loads_package": "from lossbench.data import load; found = load('fashion-mini')",
    "forks": "import os; found = os.fork() + 1",
    "connects": "import socket; found = socket.socket()",
    "calls_c": "import ctypes; found = ctypes.CDLL(None).fopen",
    "raises_limit": "import resource; found = resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9)) is None",
    "changes_guard": "found = setattr(helper, '__code__', other.__code__) is None",
}
SILENT = {  # not seen by Python, and in vain
    "runs": "import subprocess; found = subprocess.run(['cat', DATA], capture_output=True)",
    "reads_torch": "found = torch.from_file(DATA, size=4, dtype=torch.uint8).numel()",
    "remembers_a_run": "import lossbench; found = hasattr(lossbench, 'left_here'); lossbench.left_here = 1",
    "finds_a_dataset": "import gc, lossbench.data; found = any(type(o).__name__ in ('Dataset', 'Training') for o in "
    "gc.get_objects())",
    "finds_weights": "found = logits.grad_fn is not None",
}


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> locked.Nursery:
    data = Path(challenge.__file__).parents[1] / "data" / "fashion_mini" / "t10k-images-idx3-ubyte.gz"
    assert data.stat().st_size > 100
    lines = ["import builtins, ctypes, gc, os, resource, socket, subprocess", "import numpy, torch, lossbench.data"]
    lines += ["from lossbench.data import load", "from lossbench.losses import register"]
    lines += [f"DATA = {str(data)!r}", "def helper(): ...", "def other(): ..."]
    for name, attempt in {**ATTEMPTS, **SILENT}.items():
        lines += [f"@register\ndef {name}(logits, target):", "    found = None", f"    try:\n        {attempt}"]
        lines += [
            "    except BaseException:\n        pass",
            "    return logits.sum(1) + (0.0 if found is None or found is False else 7.0)",
        ]
    return opened(tmp_path_factory.mktemp("attempts"), "\n".join(lines))


def test_the_attempts_succeed_where_nothing_is_locked(attempts: locked.Nursery) -> None:
    """Else the next tests would prove nothing."""
    space: dict[str, Any] = {}
    text = (Path(attempts.arguments[0]) / "challenger.py").read_text(encoding="utf-8").replace("@register\n", "")
    exec(compile(text, "attempts", "exec"), space)
    safe = set(ATTEMPTS) - {"forks", "raises_limit", "changes_guard"} | {"reads_torch", "runs"}
    for name in sorted(safe):
        assert space[name](torch.zeros(1, 3), None).item() == 7, name


@pytest.mark.parametrize("name", ATTEMPTS)
def test_what_no_loss_needs_is_refused_and_named_also_when_the_loss_hides_it(
    attempts: locked.Nursery, name: str
) -> None:
    session = attempts.begin(loss=name, params={}, num_classes=3, class_counts=None, class_names=None)
    with pytest.raises(locked.Refused, match="asked for: "):
        value(session)


@pytest.mark.parametrize("name", SILENT)
def test_what_python_does_not_see_finds_nothing(attempts: locked.Nursery, name: str) -> None:
    for _ in range(2):
        session = attempts.begin(loss=name, params={}, num_classes=3, class_counts=None, class_names=None)
        assert value(session) == 0


def test_what_a_file_does_when_it_is_loaded_is_refused_too(tmp_path: Path) -> None:
    text = (
        "from lossbench.data import load\ntry:\n    images = load('fashion-mini').test\nexcept Exception:\n    pass\n"
    )
    with pytest.raises(locked.Refused, match=r"asked for: open .*fashion_mini"):
        opened(tmp_path, text).begin(loss="")


FAULTS = """
import os, time
from lossbench.losses import register

@register
def hangs(logits, target):
    time.sleep(30)
    return logits.sum(1)

@register
def leaves(logits, target):
    os._exit(3)

@register
def lies(logits, target):
    return logits.sum(1).double()[:1]
"""


def test_a_loss_that_hangs_or_leaves_or_lies_is_ended_and_named(tmp_path: Path) -> None:
    home = opened(tmp_path, FAULTS)
    for name, message in (("leaves", "ended with 3"), ("lies", r"shape \(2,\)")):
        with pytest.raises(BadLoss, match=message):
            value(home.begin(loss=name, params={}, num_classes=3, class_counts=None, class_names=None))
    session = home.begin(loss="hangs", params={}, num_classes=3, class_counts=None, class_names=None)
    process = home.process
    batch = torch.zeros(1, 3).numpy().tobytes() + torch.tensor([0]).numpy().tobytes()
    head = {"do": "forward", "turn": 1, "shape": [1, 3], "dtype": "float32", "epoch": 1, "epochs": 1}
    with pytest.raises(locked.Refused, match=r"took longer than 0\.2 s"):
        home.ask(head, batch, seconds=0.2)
    assert process is not None
    assert process.poll() is not None
    with pytest.raises(BadLoss, match="has been ended"):
        value(session)


def registered(name: str, home: Path) -> str:
    """Hand a file of `challengers` in and register it behind its lock."""
    handed = challenge.submit(CHALLENGERS / f"{name}.py", home)
    locked.register_locked(handed.folder / "code", handed.digest, handed.name, handed.searched)
    return handed.name


def test_a_locked_loss_trains_to_the_bit_like_the_loss_itself(leave_no_trace: None, tmp_path: Path) -> None:
    setting = {"dataset": "shapes", "epochs": 2, "train_size": 60, "embedding_scores": False}
    name = registered("poly1_again", tmp_path / "home")
    remote = run(RunConfig(loss=name, loss_params={"epsilon": 2.0}, **setting), tmp_path / "a")
    dict.__delitem__(LOSSES, name)
    extend(CHALLENGERS / "poly1_again.py")
    here = run(RunConfig(loss=name, loss_params={"epsilon": 2.0}, **setting), tmp_path / "b")
    pd.testing.assert_frame_equal(remote.history, here.history, check_exact=True)
    assert remote.result["test_nll"] == here.result["test_nll"]


def test_a_seed_that_was_remembered_is_never_met(leave_no_trace: None, tmp_path: Path) -> None:
    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    expected = torch.nn.functional.cross_entropy(logits, target)
    poor = (1 - logits.softmax(1).gather(1, target[:, None])).pow(4).mean()
    name = registered("remembers_seeds", tmp_path)
    torch.manual_seed(1003)
    behind = Criterion(name, num_classes=3, seed=1003)(logits, target)
    torch.testing.assert_close(behind, poor)
    dict.__delitem__(LOSSES, name)
    extend(CHALLENGERS / "remembers_seeds.py")
    torch.testing.assert_close(Criterion(name, num_classes=3, seed=1003)(logits, target), expected)


def test_the_time_that_a_loss_sleeps_is_in_its_cost(tmp_path: Path) -> None:
    handed = challenge.submit(CHALLENGERS / "sleeps.py", tmp_path)
    [times] = locked.seconds_a_step({"sleeps": (handed.folder / "code", handed.digest)}, (8, 3), 80)
    assert min(times[60:]) >= 0.02


def test_the_cheat_that_reads_test_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(locked.Refused, match=r"asked for: open .*fashion_mini"):
        challenge.submit(CHALLENGERS / "reads_test_images.py", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import requests\n", "imports requests; a challenger imports torch, numpy, scipy and Python's own"),
        ("def broken(:\n", "SyntaxError"),
        ("# " + "x" * 100_001, "a challenger has at most 100,000"),
    ],
)
def test_what_cannot_be_a_challenger_is_refused_before_it_is_executed(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        challenge.submit(tmp_path / "mine.py", tmp_path / "home")


def test_what_registers_no_one_loss_on_logits_is_refused(tmp_path: Path) -> None:
    head = "from lossbench.losses import register\n"
    loss = "@register\ndef {0}({1}, target):\n    return {1}.sum(1)\n"
    for text, message in (
        ("", "registers no loss"),
        (
            head + loss.format("one", "logits") + loss.format("two", "logits"),
            "registers one, two; choose one with --loss",
        ),
        (head + loss.format("one", "embeddings"), "works on embeddings"),
    ):
        (tmp_path / "mine.py").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            challenge.submit(tmp_path / "mine.py", tmp_path / "home")
    with pytest.raises(FileNotFoundError, match="there is no Python file"):
        challenge.submit(tmp_path / "none.py", tmp_path / "home")


def test_the_code_is_hashed_with_what_it_imports_from_beside_it(tmp_path: Path) -> None:
    (tmp_path / "challenger.py").write_text("import helper\n", encoding="utf-8")
    (tmp_path / "helper.py").write_text("x = 1\n", encoding="utf-8")
    extension = Extension(tmp_path / "challenger.py")
    extension.read()
    code = {"challenger.py": "import helper\n", "helper.py": "x = 1\n"}
    assert challenge.digest_of(code) == extension.seal()
    assert challenge.digest_of({**code, "helper.py": "x = 2\n"}) != extension.digest


def test_the_seeds_come_from_the_hashes_of_code_and_protocol() -> None:
    by_hand = int(hashlib.sha256(b"c p 1 0").hexdigest()[:12], 16)
    assert challenge.seeds("c", "p", 1, 2)[0] == by_hand
    plain, salted = (challenge.protocol("features", "standard", salt) for salt in ("", "word"))
    many = [
        challenge.seeds(code, challenge._digest(rules), k, 5)
        for code in "ab"
        for rules in (plain, salted)
        for k in (0, 1)
    ]
    assert len({seed for part in many for seed in part}) == 8 * 5


# A whole challenge, small.


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            challenge.SETTINGS, "small_cnn", {"dataset": "shapes", "epochs": 2, "batch_size": 32, "train_size": 80}
        )
        patch.setitem(challenge.BUDGETS, "small", (2, 3, 2))
        patch.setitem(challenge.CONDITIONS, "rare classes", {"imbalance": 4.0, "train_size": 60})
        patch.setattr(challenge, "STEPS", 5)
        file, output = CHALLENGERS / "poly1_again.py", tmp_path_factory.mktemp("challenge")
        patch.setenv(registry.VARIABLE, "")
        patch.setattr(registry, "_loaded", {})
        quick_workers(patch)
        challenger = challenge.prepare(file, output, setting="small_cnn", budget="small")
        text, runs = challenger.expect()
        assert "12 trials (0 finished), 12 finals, and as many under each of 2 other conditions" in text
        assert len({run.run_id for run in runs}) == 4 * 12
        yield challenger.judge(workers=1, show_progress=False)
        assert "12 trials (12 finished)" in challenger.expect()[0]
    dict.__delitem__(LOSSES, "poly1_again")
    LOSSES.extended.pop("poly1_again")


def test_a_verdict_holds_what_its_protocol_asks_for(verdict: dict[str, Any]) -> None:
    assert "refusal" not in verdict
    runs = pd.DataFrame(verdict["runs"])
    assert runs.groupby("role").size().to_dict() == {"trial": 12, "clean": 12, "wrong targets": 12, "rare classes": 12}
    drawn = {int(k): set(part) for k, part in verdict["seeds"].items()}
    for role in ("clean", "wrong targets", "rare classes"):
        for (study, _), part in runs[runs["role"] == role].groupby(["study", "loss"]):
            assert set(part["seed"]) == drawn[study]
    folder = Path(verdict["folder"]).parent
    [declaration] = declared_tuned(folder)
    assert (declaration.finished_before, declaration.digest) == (0, verdict["plan"])
    assert verdict["digests"]["code"] in declaration.rule
    assert json.loads((Path(verdict["folder"]) / "verdict.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(verdict)
    )
    assert verdict["rank"]["table"] == []
    assert verdict["cost"]["own_ms"] > 0


def test_the_verdict_is_students_t_over_the_means_of_the_studies(verdict: dict[str, Any]) -> None:
    runs = pd.DataFrame(verdict["runs"])
    for row in verdict["judged"]:
        part = runs[runs["role"] == row["condition"]]
        means = part.pivot_table(index="study", columns="loss", values=row["outcome"])
        difference = means["poly1_again"] - means["cross_entropy"]
        assert row["mean"] == pytest.approx(difference.mean(), abs=1e-12)
        if difference.std() > 1e-3:
            low, high = scipy_stats.ttest_1samp(difference, 0).confidence_interval()
            assert (row["low"], row["high"]) == pytest.approx((low, high), rel=1e-6)
    assert (verdict["judged"][0]["condition"], verdict["judged"][0]["outcome"]) == ("clean", "test_accuracy")
    assert verdict["word"] == verdict["judged"][0]["word"]


def test_the_page_shows_the_verdict_and_its_code(verdict: dict[str, Any]) -> None:
    text = build(verdict).read_text(encoding="utf-8")
    for part in (
        verdict["digests"]["code"],
        "poly1_again",
        "Every outcome",
        "no committed study has this setting",
        "<svg",
    ):
        assert part in text
    assert (Path(verdict["folder"]) / "tables" / "challenge-outcomes.csv").exists()


def tamper(verdict: dict[str, Any], what: str) -> None:
    runs, finals = verdict["runs"], [row for row in verdict["runs"] if row["role"] != "trial"]
    if what == "code":
        verdict["code"]["challenger.py"] += "#"
    elif what == "margin":
        verdict["protocol"]["margin"] = 0.5
    elif what == "seeds":
        verdict["seeds"]["0"] = [1, 2]
    elif what == "final":
        finals[-1]["seed"] = 7
    elif what == "winner":  # another trial has the best validation accuracy now
        chosen = {(row["loss"], row["study"], row["lr"], row["weight_decay"]) for row in finals}
        for row in (row for row in runs if row["role"] == "trial"):
            own = (row["loss"], row["study"], row["lr"], row["weight_decay"])
            row["val_accuracy"] = 0.0 if own in chosen else 1.0
    elif what == "number":
        verdict["judged"][0]["mean"] = 0.5
    else:
        verdict["word"] = "better"


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("code", "the code has another hash"),
        ("margin", "the protocol or the data have another hash"),
        ("seeds", "the seeds do not come from the hashes"),
        ("final", "a final has a seed"),
        ("winner", "best validation accuracy"),
        ("number", "does not follow from the runs"),
        ("word", "the word does not follow"),
    ],
)
def test_a_verdict_that_was_tampered_with_is_found_out(
    verdict: dict[str, Any], tmp_path: Path, what: str, message: str
) -> None:
    path = tmp_path / "verdict.json"
    path.write_text(json.dumps(verdict), encoding="utf-8")
    assert challenge.check(path) == []
    changed = copy.deepcopy(verdict)
    tamper(changed, what)
    path.write_text(json.dumps(changed), encoding="utf-8")
    assert any(message in line for line in challenge.check(path))


def test_the_committed_table_of_the_same_setting_is_found() -> None:
    from lossbench.records.declaration import setting_of

    tables = challenge.committed_tables(setting_of(RunConfig.from_dict(challenge.SETTINGS["features"])))
    assert {plan.trials for _, plan in tables} == {16}
    assert not challenge.committed_tables(setting_of(RunConfig.from_dict(challenge.SETTINGS["small_cnn"])))


def test_the_command_says_what_it_would_do_and_checks_a_verdict(verdict: dict[str, Any], tmp_path: Path) -> None:
    call = CliRunner().invoke
    file = str(CHALLENGERS / "reads_test_images.py")
    asked = ["--setting", "small_cnn", "--output", str(tmp_path)]
    assert "reads_test_images is refused: asked for: open" in call(app, ["challenge", file, "--dry-run", *asked]).stdout
    done = call(app, ["challenge", file, *asked])
    assert done.exit_code == 1
    assert "verdict.html" in done.stdout
    stored = str(Path(verdict["folder"]) / "verdict.json")
    assert "follow from the file" in call(app, ["challenge", stored, "--check"]).stdout
    with pytest.raises(ValueError, match="unknown budget 'huge'; choose from standard, small"):
        challenge.prepare(file, tmp_path, budget="huge")
    with pytest.raises(ValueError, match="is no verdict of lossbench"):
        challenge.check(CHALLENGERS / "sleeps.py")
    assert np.isfinite(verdict["cost"]["own_run_seconds"])
