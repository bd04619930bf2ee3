"""The command line, as a person at a terminal meets it."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
import warnings
from dataclasses import fields
from pathlib import Path

import pytest

import lossbench
from conftest import Command, Done
from lossbench import RunConfig, load_runs
from lossbench.config import describe_fields
from lossbench.records.declaration import declared
from lossbench.registry import parse_loss, parse_pairs, parse_value
from lossbench.report.evidence import gather
from lossbench.training import machine

needs_shell = pytest.mark.skipif(not Path("/bin/sh").exists(), reason="needs a shell")


def start(line: str, redirect: str = "", python: str = "", **variables: str) -> Done:
    """The command as a shell starts it."""
    environment = {name: value for name, value in {**os.environ, **variables}.items() if value}
    command = f"{shlex.quote(sys.executable)} {python} -m lossbench {line} {redirect}"
    done = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, errors="replace", check=False, env=environment
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_a_console_of_any_encoding_gets_the_whole_list(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = command("list", "probabilities", "--long").stdout
    console = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", console)
    assert command("list", "probabilities", "--long").returncode == 0
    console.flush()
    assert console.buffer.getvalue().decode("cp1252").count("\\u03a3") == plain.count("Σ") > 0  # type: ignore[attr-defined]


def test_version_and_short_help_are_there(command: Command) -> None:
    assert command("--version").stdout == f"lossbench {lossbench.__version__}\n"
    for name in ("", "run", "study", "report", "list", "weights", "data", "data import", "notebook", "notebook run"):
        short, long = (command(*name.split(), option) for option in ("-h", "--help"))
        assert short == long
        assert (short.returncode, "Usage" in short.stdout) == (0, True)


@needs_shell
def test_a_mistake_reaches_the_shell() -> None:
    done = start("data info fashion")
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown dataset 'fashion'; did you mean")


@needs_shell
def test_closed_streams_change_no_run_and_hide_no_list(tmp_path: Path) -> None:
    options = f"run --dataset shapes --epochs 1 --set train_size=40 --output {shlex.quote(str(tmp_path))}"
    assert start(options, "<&- >&- 2>&-").returncode == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "result.json").exists()
    done = start("data list", ">&-", python="-OO")
    assert (done.returncode, "fashion-mini" in done.stderr) == (0, True)
    assert "warning: python -OO leaves out the descriptions" in done.stderr


@needs_shell
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_list_that_could_not_be_written_is_no_success() -> None:
    done = start("data list", "> /dev/full")
    assert (done.returncode, done.stderr) == (1, "error: [Errno 28] No space left on device\n")


def test_a_user_without_a_home_folder_is_told_what_to_set(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOSSBENCH_CACHE", "XDG_CACHE_HOME", "LOSSBENCH_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where neither HOME nor a user database knows one
    done = command("data", "list")
    assert (done.returncode, done.stderr.splitlines()) == (
        2, ["error: this user has no home folder; set HOME, or LOSSBENCH_CACHE to a folder for data"]
    )  # fmt: skip


@needs_shell
def test_a_run_that_takes_too_long_is_ended_and_named(tmp_path: Path) -> None:
    done = start(f"run --epochs 10000 --timeout 2 --output {shlex.quote(str(tmp_path / 'out'))}")
    assert (done.returncode, done.stderr) == (
        1, "error: did not end within the timeout of 2 s; its last checkpoint stands\n"
    )  # fmt: skip


def test_ctrl_c_outside_of_any_run_is_one_line_and_exit_code_130(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("lossbench.cli.program.table", interrupt)
    done = command("list", "losses")
    assert (done.returncode, done.stderr.startswith("interrupted; the same command")) == (130, True)


def test_an_imported_data_set_is_listed_with_the_others(
    command: Command, pets: Path, own_cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("data", "import", str(pets), "--name", "pets", "--size", "8x8").returncode == 0
    for line in ("list datasets", "list datasets --long", "data list"):
        assert "pets" in command(*line.split()).stdout, line


def test_one_run_writes_its_record_where_it_was_told(command: Command, tmp_path: Path) -> None:
    options = "--dataset shapes --loss focal --loss-param gamma=2 --probability softmax --epochs 2 --seed 1"
    done = command("run", *options.split(), "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "runs").iterdir()
    assert record.name.startswith("shapes-small_cnn-focal-gamma2-softmax-s1-")
    assert (record / "result.json").exists()
    assert "epoch   2" in done.stdout
    again = command("run", *options.split(), "--output", str(tmp_path))
    assert again.returncode == 0
    assert "already finished" in again.stdout


def test_a_warning_is_one_line_without_a_place_in_our_source(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "computes_bfloat16", lambda device: False)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main replaces it
    options = "--dataset shapes --epochs 1 --set train_size=40 --set precision=bfloat16"
    done = command("run", *options.split(), "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: this processor has no instructions for bfloat16")


@pytest.mark.usefixtures("forked_workers")
def test_losses_are_compared_with_cross_entropy_without_a_named_study(command: Command, tmp_path: Path) -> None:
    options = "--loss focal:gamma=3 --loss mse --dataset shapes --seeds 2 --epochs 1 --set train_size=40 --workers 1"
    done = command("study", *options.split(), "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    runs = load_runs(tmp_path)
    assert set(runs["label"]) == {"cross_entropy", "focal γ=3", "mse"}
    assert (runs.groupby("label")["seed"].agg(sorted).map(tuple) == (0, 1)).all()


def test_a_file_of_losses_is_listed_with_the_others(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import lossbench\n", encoding="utf-8")
    assert command("list", "losses", "--extend", str(path)).returncode == 0


def test_help_says_what_is_taken_where_nothing_is_given(command: Command) -> None:
    words = " ".join(command("study", "--help").stdout.replace("│", " ").split())
    assert "(default: LOSSBENCH_OUTPUT, else outputs)" in words  # in square brackets it would be taken for a style
    assert "(default: the scale's)" in words


BAD = [
    (["study"], "give the name of a study, such as thesis, or losses to compare"),
    (["study", "thesis", "--loss", "mse"], "give the name of a study, such as thesis, or losses to compare"),
    (["study", "--loss", "mse", "--scale", "smoke"], "--scale smoke belongs to a named study"),
    (["study", "--loss", "focl"], "unknown loss 'focl'; did you mean 'focal'?"),
    (["study", "--loss", "focal:gamma"], "--loss focal takes name=value, such as gamma=2, got 'gamma'"),
    (["study", "--loss", "focal:gama=1"], "did you mean 'gamma'?"),
    (["study", "--loss", "focal@seed=3"], "unknown setting of a loss's own 'seed'; choose from lr, weight_decay"),
    (["study", "--loss", "focal@lr=0"], "lr must be above 0, got 0"),
    (["study", "--loss", "focal@lr"], "--loss focal@ takes name=value, such as gamma=2, got 'lr'"),
    (["study", "--loss", "focal@lr=0.1", "--until", "decided"], "lr is a loss's own here"),
    (["run", "--loss", "focal@lr=0"], "lr must be above 0, got 0"),
    (["run", "--extend", "nowhere.py"], "there is no file 'nowhere.py'"),
    (["list", "losses", "--extend", "README.md"], "is a Python file"),
    (["run", "--loss", "focl"], "unknown loss 'focl'; did you mean 'focal'?"),
    (["run", "--dataset", "fashion"], "unknown dataset 'fashion'; did you mean 'fashion-"),
    (["run", "--loss", "focal", "--loss-param", "gamma=-1"], "gamma must be at least 0, got -1"),
    (["run", "--loss", "focal", "--loss-param", "gama=1"], "did you mean 'gamma'?"),
    (
        ["run", "--loss", "focal", "--loss-param", "gamma"],
        "takes name=value, such as gamma=2, got 'gamma'",
    ),
    (["run", "--loss", "focal", "--loss-param", "gamma=1", "--loss-param", "gamma=2"], "gamma was given twice"),
    (["run", "--set", "epoch=2"], "unknown RunConfig field 'epoch'; did you mean 'epochs'?"),
    (["run", "--epochs", "0"], "epochs must be at least 1, got 0"),
    (["run", "--epochs", "two"], "unable to parse string as an integer"),
    (["run", "--device", "cuda:77"], "device 'cuda:77' is not available; choose from cpu"),
    (["run", "--output", "/proc/nowhere"], "cannot write to output '/proc/nowhere'"),
    (["study", "thesis", "--engine", "proces"], "error: unknown engine 'proces'; did you mean 'process'?"),
    (["study", "thesis", "--gpus", "0.5"], "engine 'process' does not take the option 'gpus'; it is for engine ray"),
    (["study", "thesis", "--shard", "9/8"], "error: shard must be i/n with i from 1 to n"),
    (["run", "--timeout", "0"], "timeout must be greater than 0 seconds, got 0.0"),
    (["study", "theses"], "unknown study 'theses'; did you mean 'thesis'?"),
    (["study", "thesis", "--dataset", "fashion-mnit"], "did you mean 'fashion-mnist'?"),
    (["study", "thesis", "--output", "/proc/nowhere"], "cannot write to output"),
    (["report", "--output", "/nowhere"], "lossbench study"),
    (["list", "loses"], "'loses' is not one of"),
    (["weights", "small_cnn"], "small_cnn"),
    (["runn"], "No such command 'runn'"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(row[0]) for row in BAD])
def test_a_mistake_is_one_clear_line_and_exit_code_2(
    command: Command, arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = command(*arguments)
    assert done.returncode == 2, done.stderr
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "runs").exists(), "refused before any work"


def test_an_empty_data_folder_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = command("run", "--dataset", "fashion-mnist", "--data", str(tmp_path / "empty"), "--output", str(tmp_path))
    assert done.returncode == 2
    assert f"the data folder {str(tmp_path / 'empty')!r} is empty" in done.stderr


@pytest.mark.parametrize("kind", ["losses", "probabilities", "models", "datasets", "studies"])
def test_everything_that_can_be_named_is_listed(command: Command, kind: str) -> None:
    names = list(getattr(lossbench, kind.upper()))
    short, long = command("list", kind), command("list", kind, "--long")
    assert (short.returncode, long.returncode) == (0, 0)
    assert [name for name in names if name not in short.stdout] == []
    assert [name for name in names if name not in long.stdout] == []
    assert len(long.stdout) > len(short.stdout)


def test_losses_are_listed_with_their_origin(command: Command) -> None:
    lines = command("list", "losses").stdout.splitlines()
    assert any(line.split()[:3] == ["mse", "scoring", "rule"] for line in lines)
    assert any(line.split()[:2] == ["cross_entropy", "likelihood"] for line in lines)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("fields", [f.name for f in fields(RunConfig)]),
        ("optimizers", ["adam", "adamw", "sgd", "sgd_momentum", "sgd_plain", "adadelta"]),
        ("augmentations", ["none", "thesis", "adma_mnist"]),
        ("metrics", ["accuracy", "balanced_accuracy", "auroc"]),
    ],
)
def test_what_a_setting_may_be_is_listed(command: Command, kind: str, names: list[str]) -> None:
    rows = [line.split()[0] for line in command("list", kind).stdout.splitlines() if not line.startswith(" ")]
    assert set(names) <= set(rows)


def test_every_field_is_listed_with_its_default_what_it_may_be_and_what_it_means(command: Command) -> None:
    for name, default, allowed, meaning in describe_fields():
        assert json.loads(default) == ([] if name == "metrics" else RunConfig.defaults()[name])
        assert len(allowed) > 5
        assert len(meaning) > 10
    words = " ".join(command("run", "--help").stdout.replace("│", " ").split())
    assert 'scheduler="cosine" (cosine, constant, step, one_cycle), warmup_epochs=0' in words


def test_a_dry_run_names_what_it_would_do_and_does_nothing(command: Command, tmp_path: Path) -> None:
    done = command(
        "study", "thesis", "--dataset", "shapes", "--seeds", "2", "--dry-run", "--output", str(tmp_path / "out")
    )
    assert done.returncode == 0
    assert len(done.stdout.split()) == 30
    assert "30 runs, 0 finished, 30 to do" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "value"),
    [("2", 2), ("0.5", 0.5), ("true", True), ("False", False), ("None", None), ("logits", "logits"), ("[1]", [1])],
)
def test_values_are_read_as_what_they_look_like(text: str, value: object) -> None:
    assert parse_value(text) == value
    assert parse_pairs([f"key={text}"], "-p") == {"key": value}


def test_a_learning_rate_of_a_losss_own_is_declared_and_judged_as_tuned(command: Command, tmp_path: Path) -> None:
    command("study", "--loss", "focal:gamma=0.5@lr=0.003", "--loss", "mse", "--dataset", "shapes", "--seeds", "3",
            "--epochs", "1", "--set", "train_size=40", "--engine", "ensemble", "--output", str(tmp_path))  # fmt: skip
    (entry,) = declared(tmp_path)
    assert entry.tuned == ["lr"]
    assert "lr" not in entry.setting
    assert {loss["label"]: loss["tuned"]["lr"] for loss in entry.losses} == {
        "cross_entropy": 0.001, "focal γ=0.5": 0.003, "mse": 0.001,
    }  # fmt: skip
    runs = load_runs(tmp_path)
    assert runs.groupby("label")["lr"].unique().map(list).to_dict() == {
        "cross_entropy": [0.001], "focal γ=0.5": [0.003], "mse": [0.001],
    }  # fmt: skip
    (setting,) = gather(tmp_path)[0].settings
    rows = setting.comparison.set_index("label")
    assert rows["n"].to_dict() == {"focal γ=0.5": 3, "mse": 3}
    assert "lr 0.003 against 0.001" in rows.loc["focal γ=0.5", "limits"]
    assert setting.text_of("lr") == "0.001 for cross-entropy, 0.003 for focal γ=0.5, 0.001 for MSE"


def test_losses_are_read_with_their_parameters() -> None:
    read = [parse_loss(text, "--loss") for text in ("mse", "false_positive:alpha=none,top_k=3")]
    assert read == [("mse", {}), ("false_positive", {"alpha": "none", "top_k": 3})]
