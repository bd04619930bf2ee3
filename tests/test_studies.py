"""Named studies: what they plan, what they will cost, and that each runs to its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from killing import Child, fork, hear_ctrl_c, quick_workers, still_there, wait_for

import lossbench
import lossbench.training.run
from lossbench import RunConfig
from lossbench.cli import main
from lossbench.config import grid
from lossbench.data import DATASETS
from lossbench.losses import Criterion
from lossbench.records.lease import hold
from lossbench.records.record import Record
from lossbench.records.tables import find_records
from lossbench.studies import plans
from lossbench.studies.estimate import estimate, measure
from lossbench.studies.execute import Board, parse_shard, run_configs, take_shard
from lossbench.studies.plans import SCALES, STUDIES, compare_losses, plan_study


def test_the_thesis_study_is_five_losses_under_three_probability_functions() -> None:
    configs = plan_study("thesis", ["fashion-mini"], 3)
    assert len({config.run_id for config in configs}) == 45
    cells = {(config.label, config.probability) for config in configs}
    assert len(cells) == 15
    assert [config.seed for config in configs] == sorted(config.seed for config in configs), "seed by seed"


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", list(STUDIES))
def test_every_study_plans_distinct_runs_of_one_protocol(name: str, scale: str) -> None:
    configs = plan_study(name, seeds=2, scale=scale)
    assert len({config.run_id for config in configs}) == len(configs) > 1
    assert "?" in STUDIES[name].question
    assert {config.dataset for config in configs} == set(STUDIES[name].scale(scale).datasets) <= set(DATASETS)
    assert any(config.loss == "cross_entropy" for config in configs), "the loss that all others are compared with"
    losses = {c: c.loss if name == "tuned" else c.run_id.split("-s")[0] for c in configs}  # tuned ones have own values
    by_seed = [{losses[c] for c in configs if c.seed == seed} for seed in (0, 1)]
    assert by_seed[0] == by_seed[1], "every seed has every loss"


# Paper 001, sections 4.2 and 5 and Tables 1 to 4: epochs, augmentation, learning rate of Adam, exponents of the tables.
ADMA_AS_PRINTED = {
    "mnist": (50, "adma_mnist", 1e-3, (0.2624, 0.2712, 0.2624, 0.2628)),
    "fashion-mnist": (75, "adma_mnist", 1e-3, (0.2580, 0.2729, 0.2481, 0.2654)),
    "cifar-10": (125, "adma_cifar10", 1e-3, (0.2622, 0.2809, 0.2489, 0.2807)),
    "cifar-100": (170, "adma_cifar100", 1e-3, (0.2820, 0.3110, 0.3080, 0.3071)),
    "flowers": (150, "none", 4e-4, (0.2625, 0.2762, 0.2671, 0.2697)),
    "ham10000": (150, "none", 4e-4, (0.2625, 0.2918, 0.2625, 0.2789)),
    "dogs-vs-cats": (50, "none", 1e-3, (0.2451, 0.2727, 0.2653, 0.3118)),
}


@pytest.mark.parametrize("dataset", ADMA_AS_PRINTED)
def test_the_study_of_adma_at_the_scale_of_its_paper_follows_the_paper(dataset: str) -> None:
    epochs, augmentation, lr, exponents = ADMA_AS_PRINTED[dataset]
    configs = plan_study("adma", [dataset], 1, scale="paper")
    shared = {(c.epochs, c.augmentation, c.scheduler, c.batch_size) for c in configs}
    assert shared == {(epochs, augmentation, "constant", 64)}
    table = [("adam", 1e-4), ("sgd_plain", 1e-4), ("adam", 0.0), ("sgd_plain", 0.0)]
    rates = {"adam": lr, "sgd_plain": 1e-3}
    for (optimizer, decay), a in zip(table, exponents, strict=True):
        cell = [c for c in configs if (c.optimizer, c.weight_decay, c.lr) == (optimizer, decay, rates[optimizer])]
        mine = [c for c in cell if c.model == "convnet" and c.train_size is None]
        assert {c.loss: c.loss_params.get("a", 0.2622) for c in mine}["adma"] == a
        assert {c.loss for c in mine} == {"adma", "cross_entropy", "mse", "squared_hinge"}
    networks = {c.model for c in configs}
    assert networks >= {"convnet_relu", "convnet_leaky_relu", "convnet_maxout"}
    standard = dataset in ("mnist", "fashion-mnist", "cifar-10", "cifar-100")
    assert ("resnet34" in networks) == standard == all(c.train_size is None for c in configs)
    assert {c.lr for c in configs} >= {2e-4}


def test_a_variant_of_a_data_set_has_the_settings_of_its_family_and_given_ones_win() -> None:
    (config, *_) = plan_study("adma", ["cifar-10-jpeg"], 1, scale="paper")
    assert (config.epochs, config.augmentation) == (125, "adma_cifar10")
    assert plan_study("adma", ["cifar-100"], 1, scale="paper")[0].epochs == 170
    assert {c.epochs for c in plan_study("adma", ["mnist"], 1, {"epochs": 3}, scale="paper")} == {3}


def test_every_study_of_a_paper_says_where_it_is_not_the_papers_protocol() -> None:
    told = {name for name, study in STUDIES.items() if study.paper.differs}
    assert told == {"thesis", "adma", "sampling-free", "false-positive", "layers"}
    assert not any(study.scale(scale).differs for study in STUDIES.values() for scale in ("smoke", "laptop"))


@pytest.mark.slow
@pytest.mark.usefixtures("forked_workers")
@pytest.mark.parametrize("name", list(STUDIES))
def test_every_study_runs_to_its_end_at_the_smallest_scale(name: str, tmp_path: Path) -> None:
    configs = plan_study(name, scale="smoke")
    if name == "pretrained":
        pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra `pretrained`")
        configs = configs[4:5]  # one that trains all layers: the others cost a minute
    configs = configs[:: len(configs) // 3 or 1]  # of a long one some, from its first to its last
    summary = run_configs(configs, tmp_path, workers=1, show_progress=False)
    assert (summary.finished + summary.diverged, summary.failed) == (len(configs), {})
    runs = lossbench.load_runs(tmp_path)
    assert len(runs) == len(configs)
    assert runs["test_accuracy"].between(0.0, 1.0).all()


def test_settings_given_win_over_the_scales() -> None:
    configs = plan_study("thesis", scale="smoke", settings={"epochs": 4, "lr": 0.01})
    assert {(config.epochs, config.lr, config.train_size) for config in configs} == {(4, 0.01, 300)}


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown study 'theses'; did you mean 'thesis'"):
        plan_study("theses")
    with pytest.raises(ValueError, match="seeds must be at least 1"):
        plan_study("thesis", seeds=0)
    with pytest.raises(ValueError, match=r"unknown scale 'laptp'; did you mean 'laptop'"):
        plan_study("thesis", scale="laptp")
    with pytest.raises(TypeError, match=r"unknown RunConfig field 'epoch'"):
        plan_study("thesis", settings={"epoch": 1})


def test_losses_are_compared_over_paired_seeds() -> None:
    configs = compare_losses([("cross_entropy", {}), ("focal", {"gamma": 1.0})], seeds=2, base=RunConfig(epochs=3))
    assert [(config.seed, config.loss, config.epochs) for config in configs] == [
        (0, "cross_entropy", 3), (0, "focal", 3), (1, "cross_entropy", 3), (1, "focal", 3),
    ]  # fmt: skip


def test_an_estimate_names_each_kind_of_run_and_the_data_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOSSBENCH_DATA", raising=False)
    monkeypatch.setenv("LOSSBENCH_CACHE", str(tmp_path))
    text = estimate(plan_study("thesis", ["shapes", "svhn"], 1), workers=2, device="cpu")
    rows = [line.split() for line in text.splitlines()]
    assert ["shapes", "small_cnn", "15"] in [row[:3] for row in rows]
    assert "with 2 workers on cpu" in text
    assert "missing: svhn: " in text
    assert "missing: shapes" not in text


def test_an_estimate_is_of_the_right_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", time.process_time)  # other programs come and go
    config = RunConfig(epochs=2, train_size=1000)
    measured = lossbench.run(config, tmp_path, device="cpu").result["seconds"]
    estimated = 3600 * measure([config], torch.device("cpu"), None).hours
    assert measured / 4 < estimated < 4 * measured


@pytest.mark.parametrize("loss", plans.FIRST_PULL)
def test_the_first_pull_is_the_length_of_the_gradient_beside_that_of_cross_entropy(loss: str) -> None:
    def pull(name: str) -> float:
        logits = torch.zeros(1, 10, dtype=torch.float64, requires_grad=True)
        return float(torch.autograd.grad(Criterion(name)(logits, torch.tensor([3])), logits)[0].norm())

    assert pull(loss) / pull("cross_entropy") == pytest.approx(plans.FIRST_PULL[loss], rel=1e-3)


def test_the_study_of_adma_also_matches_the_first_steps_under_sgd() -> None:
    plan = plans.adma(RunConfig(train_size=1_000))
    rates = {config.loss: config.lr for config in plan if config.optimizer == "sgd" and config.lr != 0.01}
    assert rates == {"adma": 0.0404, "mse": 0.5, "squared_hinge": 0.25}


# Studies in real worker processes, killed and interrupted for real.

QUICK = {"dataset": ["shapes"], "epochs": [2]}


def workers_of(pid: int) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            found += [child] if "lossbench.studies.worker" in child.cmdline() else []
    return found


@pytest.mark.usefixtures("forked_workers")
def test_a_study_runs_once_and_a_second_call_finds_it_done(tmp_path: Path) -> None:
    configs = grid(**QUICK, loss=["cross_entropy", "focal"], seed=[0, 1])
    first = run_configs(configs, tmp_path, workers=2, show_progress=False)
    assert (first.finished, first.skipped, first.exit_code) == (4, 0, 0)
    stamps = {record.path: (record.path / "result.json").stat().st_mtime_ns for record in find_records(tmp_path)}
    assert len(stamps) == 4
    second = run_configs([*configs, *configs], tmp_path, workers=2, show_progress=False)
    assert (second.planned, second.finished, second.skipped) == (4, 0, 4)
    assert stamps == {path: (path / "result.json").stat().st_mtime_ns for path in stamps}
    assert "4 of 4 runs finished, 4 of them earlier" in str(second)


def test_a_worker_gives_what_a_run_in_this_process_gives_and_stays_small(tmp_path: Path) -> None:
    config = RunConfig(epochs=1, train_size=1000, loss="js_divergence")
    run_configs([config], tmp_path / "worker", show_progress=False)
    record = lossbench.run(config, tmp_path / "here")
    (other,) = find_records(tmp_path / "worker")
    for name in ("config.json", "history.csv", "predictions.npz"):
        assert (record.path / name).read_bytes() == (other.path / name).read_bytes()
    assert 100 < other.result["peak_memory_mb"] < 1200


def test_a_killed_worker_is_replaced_and_its_run_goes_on(kills_once: Path, tmp_path: Path) -> None:
    config = RunConfig(dataset="shapes", epochs=4, train_size=100, loss="kills_once")
    summary = run_configs([config], tmp_path, show_progress=False)
    assert kills_once.exists()
    assert (summary.finished, summary.failed) == (1, {})
    unbroken = lossbench.run(config, tmp_path / "unbroken")
    (record,) = find_records(tmp_path)
    assert (record.path / "history.csv").read_bytes() == (unbroken.path / "history.csv").read_bytes()


@pytest.mark.usefixtures("forked_workers")
def test_a_diverged_run_is_counted_and_is_no_failure(tmp_path: Path) -> None:
    bad = RunConfig(dataset="shapes", epochs=1, lr=1e30, optimizer="sgd")
    summary = run_configs([bad, RunConfig(dataset="shapes", epochs=1)], tmp_path, show_progress=False)
    assert (summary.finished, summary.diverged, summary.exit_code) == (1, 1, 0)
    assert "1 diverged" in str(summary)


def test_missing_data_stop_a_study_before_it_starts(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    configs = [RunConfig(dataset="shapes"), RunConfig(dataset="fashion-mnist")]
    with pytest.raises(FileNotFoundError):
        run_configs(configs, tmp_path / "out", data=tmp_path / "empty", show_progress=False)
    assert not (tmp_path / "out" / "runs").exists()


@pytest.fixture
def long_study(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A study of 15 runs in a process of its own, with its first record written."""
    command = [sys.executable, "-m", "lossbench", "study", "thesis", "--dataset", "shapes", "--seeds", "1"]
    command += ["--epochs", "8", "--set", "train_size=100", "--set", "embedding_scores=false"]
    command += ["--workers", "2", "--output", str(tmp_path)]
    pipes: dict[str, Any] = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    study = subprocess.Popen(command, **pipes, preexec_fn=hear_ctrl_c)
    try:
        wait_for(lambda: study.poll() is not None or list(find_records(tmp_path)))
        assert study.poll() is None, study.communicate()
        yield study
    finally:
        study.kill()
        study.communicate()


@pytest.mark.usefixtures("forked_workers")
def test_ctrl_c_keeps_every_finished_record_and_a_second_call_ends_the_study(
    long_study: subprocess.Popen[str], tmp_path: Path
) -> None:
    workers = workers_of(long_study.pid)
    long_study.send_signal(signal.SIGINT)
    output, errors = long_study.communicate(timeout=240)
    assert long_study.returncode == 130, errors
    assert "interrupted, the same command finishes the rest" in output
    assert not still_there(workers), "no worker outlives the study"
    done = {record.path.name: (record.path / "history.csv").read_bytes() for record in find_records(tmp_path)}
    assert 1 <= len(done) < 15
    configs = plan_study("thesis", ["shapes"], 1, {"epochs": 8, "train_size": 100, "embedding_scores": False})
    assert run_configs(configs, tmp_path, workers=2, show_progress=False).finished == 15 - len(done)
    records = {record.path.name: (record.path / "history.csv").read_bytes() for record in find_records(tmp_path)}
    assert len(records) == 15
    assert done.items() <= records.items()


def test_no_worker_outlives_a_killed_study(long_study: subprocess.Popen[str]) -> None:
    workers = workers_of(long_study.pid)
    assert workers
    long_study.kill()
    long_study.wait()
    assert not still_there(workers)


# Parts of a plan, and engines by name.

IMAGES = {"fashion-mnist": 60_000, "cifar-10": 50_000, "fashion-mini": 5_000}
PLANS: dict[str, list[RunConfig]] = {
    "thesis": plan_study("thesis", tuple(IMAGES), 5),
    "adma": plan_study("adma", ("fashion-mini",), 7),
    "short": grid(dataset=["fashion-mini"], seed=[0, 1, 2]),
}


def work(config: RunConfig) -> int:
    return config.epochs * (config.train_size or IMAGES[config.dataset])


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 16, 100])
def test_the_parts_are_the_plan_in_its_order_each_run_once(plan: list[RunConfig], count: int) -> None:
    parts = [take_shard(plan, f"{i}/{count}") for i in range(1, count + 1)]
    assert Counter(config for part in parts for config in part) == Counter(plan)
    for part in parts:
        assert [plan.index(config) for config in part] == sorted(plan.index(config) for config in part)


@pytest.mark.parametrize("count", [2, 3, 5, 8, 15])
@pytest.mark.parametrize("name", ["thesis", "adma"])
def test_the_parts_have_equal_work(name: str, count: int) -> None:
    loads = [sum(map(work, take_shard(PLANS[name], f"{i}/{count}"))) for i in range(1, count + 1)]
    heaviest = max(map(work, PLANS[name]))
    assert max(loads) <= max(1.1 * sum(loads) / count, sum(loads) / count + heaviest)


def test_runs_that_are_compared_stay_together_where_the_work_can_be_shared_so() -> None:
    for i in range(1, 6):
        part = take_shard(PLANS["thesis"], f"{i}/5")
        assert set(Counter((config.dataset, config.seed) for config in part).values()) == {15}


@pytest.mark.usefixtures("forked_workers")
def test_a_part_is_run_alone_and_the_parts_make_the_study(tmp_path: Path) -> None:
    plan = grid(dataset=["shapes"], epochs=[1], train_size=[32], seed=range(3))
    first = run_configs(plan, tmp_path, shard="1/2", workers=1, show_progress=False)
    assert first.planned == len(take_shard(plan, "1/2")) == len(list(find_records(tmp_path)))
    again = run_configs(plan, tmp_path, shard="1/2", show_progress=False)
    assert (again.planned, again.skipped) == (first.planned, first.planned), "what is finished does not move a part"


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "-1/4", "a/b", "1/4/2", "1.5/4", "", "1/9999999", "²/4"])
def test_a_part_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"shard must be i/n with i from 1 to n, such as 1/4 for the first of four"):
        parse_shard(text)


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"engine": "proces"}, ValueError, "unknown engine 'proces'; did you mean 'process'?"),
    ({"engine": "process", "gpus": 1}, TypeError, "'process' does not take the option 'gpus'; it is for engine ray"),
    ({"engine": "papermill", "address": "auto"}, TypeError, "does not take the option 'address'; it is for engine ray"),
    ({"worker": 2}, TypeError, "does not take the option 'worker'; no engine does"),
    ({"shard": "3/2"}, ValueError, "got '3/2'"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "kind", "message"), BAD, ids=[str(row[0]) for row in BAD])
def test_what_an_engine_does_not_take_is_refused_before_any_work(
    tmp_path: Path, arguments: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as caught:
        run_configs([RunConfig(dataset="shapes")], tmp_path / "out", **arguments)
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_dry_run_of_a_part_shows_that_part(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("lossbench.studies.estimate.estimate", lambda *_, **__: "")
    line = "study thesis --dataset shapes --seeds 2 --shard 2/4 --dry-run"
    monkeypatch.setattr("sys.argv", ["lossbench", *line.split(), "--output", str(tmp_path / "o")])
    with pytest.raises(SystemExit):
        main()
    expected = [config.run_id for config in take_shard(plan_study("thesis", ["shapes"], 2), "2/4")]
    assert capsys.readouterr().out.split() == expected


# Studies that share a folder, and workers that keep dying.

TWELVE = grid(dataset=["shapes"], epochs=[2], train_size=[64], seed=range(12))


def start_study(configs: Sequence[RunConfig], output: Path, log: Path, workers: int = 2) -> Child:
    def study() -> None:
        quick_workers()
        finish = lossbench.training.run.finish

        def finish_and_tell(record: Record, *rest: object) -> None:
            finish(record, *rest)  # type: ignore[arg-type]
            with (log.parent / "trained").open("a") as file:
                file.write(f"{record.path.name}\n")

        lossbench.training.run.finish = finish_and_tell  # type: ignore[assignment]
        summary = run_configs(configs, output, workers=workers, show_progress=False)
        sys.stdout.write(str(summary))
        sys.exit(summary.exit_code)

    return fork(study, log)


def test_three_studies_on_one_folder_do_each_run_once_and_all_end(tmp_path: Path) -> None:
    logs = [tmp_path / f"log{i}" for i in range(3)]
    studies = [start_study(TWELVE, tmp_path / "out", log) for log in logs]
    assert [study.wait() for study in studies] == [0, 0, 0], [log.read_text() for log in logs]
    assert all("12 of 12 runs finished" in log.read_text() for log in logs), "each has seen every record"
    assert Counter((tmp_path / "trained").read_text().split()) == dict.fromkeys((c.run_id for c in TWELVE), 1)


def test_a_run_that_another_process_holds_is_left_to_it_and_waited_for(tmp_path: Path) -> None:
    held, others = TWELVE[0], TWELVE[1:3]
    log = tmp_path / "log"
    with hold(Record.of(held, tmp_path / "out").path):
        study = start_study([held, *others], tmp_path / "out", log, workers=1)
        wait_for(lambda: len(list(find_records(tmp_path / "out"))) == 2)
        assert study.poll() is None, log.read_text()
        assert not Record.of(held, tmp_path / "out").finished
    assert study.wait() == 0, log.read_text()
    assert Record.of(held, tmp_path / "out").finished


def test_a_run_waits_for_the_process_that_does_it(tmp_path: Path) -> None:
    config = TWELVE[0]
    log = tmp_path / "log"
    with hold(Record.of(config, tmp_path).path):
        child = fork(lambda: lossbench.run(config, tmp_path), log)
        wait_for(lambda: log.exists() and "waiting: " in log.read_text())
        assert f"worked on by process {os.getpid()} on" in log.read_text()
        assert child.poll() is None
    assert child.wait() == 0
    assert Record.of(config, tmp_path).finished


def test_a_run_whose_worker_dies_three_times_fails_with_the_exit_code_and_the_rest_goes_on(tmp_path: Path) -> None:
    deadly, good = RunConfig(dataset="shapes", epochs=1000), TWELVE[0]
    folder, log = Record.of(deadly, tmp_path).path, tmp_path / "log"
    study = start_study([deadly, good], tmp_path, log, workers=1)
    victims: set[int] = set()
    while len(victims) < 3:
        wait_for(lambda: workers_of_engine_sharing(study) - victims)
        (victim,) = workers_of_engine_sharing(study) - victims
        seen = stamp(folder)
        wait_for(lambda seen=seen: stamp(folder) > seen)  # it has gone on by an epoch
        os.kill(victim, signal.SIGKILL)
        victims.add(victim)
    assert study.wait() == 1, log.read_text()
    assert "1 of 2 runs finished, 1 failed" in log.read_text()
    assert f"{deadly.run_id}: worker ended 3 times, last with exit code -9" in log.read_text()


def workers_of_engine_sharing(study: Child) -> set[int]:
    found = set()
    for child in psutil.Process(study.pid).children():
        with suppress(psutil.Error):  # it has just ended
            found |= {child.pid} if child.status() != psutil.STATUS_ZOMBIE else set()
    return found


def stamp(folder: Path) -> int:
    path = folder / "checkpoint.pt"
    return path.stat().st_mtime_ns if path.exists() else 0


# What a study says of itself where nobody watches.

CONFIGS = [RunConfig(epochs=2, seed=seed) for seed in range(40)]


def test_in_a_log_a_study_writes_a_line_now_and_then(capsys):
    with closing(Board(CONFIGS, show_progress=True)) as board:
        board.say("a message")
        for config in CONFIGS:
            board.epoch(config, 1)
            answer = {"status": "finished", "test_accuracy": 0.5, "label": "focal", "probability": "softmax"}
            board.done(config, answer)
    written = capsys.readouterr().err
    lines = written.splitlines()
    assert "\r" not in written
    assert len(lines) == 3  # its beginning, the message, its end
    assert lines[0].startswith("0/40 runs,   0%")
    assert lines[1] == "a message"
    assert lines[2].startswith("40/40 runs, 100%")
    assert lines[2].endswith("best 0.5000 focal, softmax")


def test_a_bar_that_is_not_asked_for_writes_nothing(capsys):
    with closing(Board(CONFIGS)) as board:
        board.failed(CONFIGS[0], "why")
    assert capsys.readouterr().err == ""
