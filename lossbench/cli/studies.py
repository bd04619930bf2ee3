"""`lossbench run`, `study` and `demo`: what trains."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from lossbench.cli.options import (
    Address,
    Conditions,
    Data,
    Datasets,
    Device,
    DryRun,
    EngineName,
    Epochs,
    Extend,
    Finals,
    Gpus,
    Keeping,
    Losses,
    Margin,
    Optimizer,
    Output,
    Plan,
    Price,
    Report,
    ScaleName,
    Seeds,
    Settings,
    Shard,
    Studies,
    StudyName,
    Tensorboard,
    Timeout,
    TrainSize,
    Trials,
    UntilDecided,
    Widen,
    Workers,
)
from lossbench.files import refuse_unwritable
from lossbench.registry import extend, parse_loss, parse_own_settings, parse_pairs
from lossbench.studies.worker import Stop, gentle_interrupt

if TYPE_CHECKING:
    from lossbench.config import RunConfig
    from lossbench.studies.execute import Summary


def run_one(
    dataset: Annotated[str, typer.Option(help="See `lossbench list datasets`.")] = "fashion-mini",
    model: Annotated[str, typer.Option(help="See `lossbench list models`.")] = "small_cnn",
    loss: Annotated[
        str, typer.Option(help="See `lossbench list losses`; parameters as in focal:gamma=2.")
    ] = "cross_entropy",
    loss_param: Annotated[list[str] | None, typer.Option(help="A parameter of the loss, such as gamma=2.")] = None,
    probability: Annotated[str, typer.Option(help="See `lossbench list probabilities`.")] = "softmax",
    probability_param: Annotated[list[str] | None, typer.Option(help="Such as margin=0.3.")] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = 10,
    seed: Annotated[int, typer.Option(help="Fixes split, first weights, order and augmentation.")] = 0,
    setting: Settings = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    timeout: Timeout = None,
    tensorboard: Tensorboard = False,
    keep: Keeping = None,
    resume: Annotated[
        str, typer.Option(help="Go on from a checkpoint of the same threads, device and torch; anyway; or never.")
    ] = "same",
    device: Device = None,
    data: Data = None,
    extensions: Extend = None,
    output: Output = None,
) -> None:
    """Train and score one configuration; the record is kept in OUTPUT/runs/<run_id>/. Ctrl-C ends it after an epoch."""
    from lossbench.records.record import output_folder

    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout must be greater than 0 seconds, got {timeout!r}")
    folder = output_folder(output)
    if not any(folder.glob("runs/*/result.json")):  # a finished run is returned from a folder that is only read, too
        refuse_unwritable(folder)  # before the seconds that torch takes to load
    extend(*extensions or ())
    from lossbench.config import RunConfig
    from lossbench.records.record import Record
    from lossbench.training.run import run

    loss, own = parse_own_settings(loss, "--loss")
    name, params = parse_loss(loss, "--loss")
    named = {
        "dataset": dataset,
        "model": model,
        "loss": name,
        "loss_params": params | parse_pairs(loss_param, "--loss-param"),
        "probability": probability,
        "probability_params": parse_pairs(probability_param, "--probability-param"),
        "epochs": epochs,
        "seed": seed,
    }
    config = RunConfig.from_dict(named | parse_pairs(setting, "--set") | own)
    finished_before = Record.of(config, output).finished
    stopping = threading.Event()

    def progress(row: dict[str, float]) -> None:
        _print_epoch(row)
        if stopping.is_set() and row["epoch"] < config.epochs:
            raise Stop

    where: dict[str, Any] = {"device": device, "threads": threads, "data": data, "tensorboard": tensorboard}
    where |= {"keep": keep}
    try:
        with _ended_after(timeout), gentle_interrupt(stopping, lambda text: typer.echo(text, err=True)):
            record = run(config, output, **where, resume=resume, progress=progress)
    except (Stop, KeyboardInterrupt):
        typer.echo("interrupted, the same command goes on from the last whole epoch", err=True)
        sys.exit(130)
    if finished_before:
        typer.echo("already finished; this is its record:")
    typer.echo(f"{record!r}\n{record.path}")


@contextmanager
def _ended_after(seconds: float | None) -> Iterator[None]:
    """End the whole process when the block takes longer: a loss that hangs may not listen to anything less."""

    def end() -> None:
        text = f"did not end within the timeout of {seconds:g} s; its last checkpoint stands"
        typer.secho(f"error: {text}", fg="red", err=True)
        os._exit(1)

    timer = threading.Timer(min(seconds or math.inf, threading.TIMEOUT_MAX), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def run_study(
    name: StudyName = None,
    loss: Losses = None,
    dataset: Datasets = None,
    seeds: Seeds = None,
    until: UntilDecided = None,
    margin: Margin = None,
    scale: ScaleName = None,
    setting: Settings = None,
    epochs: Epochs = None,
    optimizer: Optimizer = None,
    train_size: TrainSize = None,
    trials: Trials = None,
    studies: Studies = None,
    finals: Finals = None,
    widen: Widen = None,
    condition: Conditions = None,
    engine: EngineName = "process",
    workers: Workers = None,
    shard: Shard = None,
    address: Address = None,
    gpus: Gpus = None,
    timeout: Timeout = None,
    tensorboard: Tensorboard = False,
    keep: Keeping = None,
    report: Report = False,
    dry_run: DryRun = False,
    plan: Plan = False,
    price: Price = None,
    device: Device = None,
    data: Data = None,
    extensions: Extend = None,
    output: Output = None,
) -> None:
    """Run a named study, or compare losses with cross-entropy. Finished runs are skipped, so a second call goes on."""
    from lossbench.records.record import output_folder
    from lossbench.studies.execute import ENGINES, parse_shard, run_configs, take_shard

    for_ray = {"address": address, "gpus": gpus}
    options: dict[str, Any] = {key: value for key, value in for_ray.items() if value is not None}
    ENGINES[engine].accept(options)
    if shard is not None:
        parse_shard(shard)
    if not dry_run:
        refuse_unwritable(output_folder(output))  # before the seconds that torch takes to load
    extend(*extensions or ())
    from lossbench.records.declaration import declare
    from lossbench.stats import LOOKS
    from lossbench.studies.decisions import read_margin, require_judgeable, run_until_decided

    named = {"epochs": epochs, "optimizer": optimizer, "train_size": train_size}
    shared = parse_pairs(setting, "--set") | {key: value for key, value in named.items() if value is not None}
    changes = tuple(parse_pairs(text.split(","), "--condition") for text in condition or ()) or None
    own = {"trials": trials, "studies": studies, "finals": finals, "widen": widen, "conditions": changes}
    budget: dict[str, Any] = {key: value for key, value in own.items() if value is not None}
    how: dict[str, Any] = {"engine": engine, "workers": workers, "device": device, "data": data, "shard": shard}
    how |= {"timeout": timeout, "tensorboard": tensorboard, "keep": keep, **options}
    if name == "tuned":
        refused = {"--seeds": seeds, "--until": until, "--plan": plan or None, "--scale": scale}
        _run_tuned(
            loss, dataset, shared, budget | {"margin": read_margin(margin)}, refused, output, dry_run, report, how
        )
    if budget:
        raise ValueError(
            f"--{next(iter(budget)).replace('conditions', 'condition')} belongs to `lossbench study tuned`"
        )
    looks = [look for look in LOOKS if seeds is None or look <= seeds] if until else []
    most = max(LOOKS) if plan and seeds is None else max(looks, default=seeds)
    configs = _plan(name, loss, dataset or (), most, shared, scale)
    matters = read_margin(margin)
    if plan:
        from lossbench.studies.estimate import estimate_pilot

        here: dict[str, Any] = {"workers": workers, "device": device, "data": data}
        typer.echo(estimate_pilot(configs, output_folder(output), matters, price=price, **here))
        return
    if until and (tuned := _tuned(loss)):
        raise ValueError(
            f"--until decided judges losses that share their settings, and {', '.join(tuned)} is a loss's own here; "
            "leave --until out, and give --seeds"
        )
    if until:
        require_judgeable(configs, LOOKS, matters, shard)
    part = configs if shard is None else take_shard(configs, shard)
    if dry_run:
        _show_plan(part, output, workers, device, data, looks)
        _show_differences(name, scale)
        return
    how.pop("shard")
    if until:
        decisions = run_until_decided(configs, output, margin=matters, study=name, say=typer.echo, **how)
        typer.echo(decisions)
        summary = decisions.summary
    else:
        declare(configs, output, margin=matters, study=name, tuned=_tuned(loss))
        summary = run_configs(part, output, **how)
    _end_study(summary, output, report)


def _end_study(summary: Summary, output: Path | None, report: bool) -> NoReturn:
    typer.echo(summary)
    if report and not summary.interrupted:
        from lossbench.report import build

        typer.echo(build(output))
    sys.exit(summary.exit_code)


def _run_tuned(
    losses: list[str] | None,
    datasets: Sequence[str] | None,
    shared: dict[str, Any],
    budget: dict[str, Any],
    refused: dict[str, Any],
    output: Path | None,
    dry_run: bool,
    report: bool,
    how: dict[str, Any],
) -> NoReturn:
    """`lossbench study tuned`: trials, the choice among them, finals."""
    from lossbench.studies.execute import Summary, take_shard
    from lossbench.studies.tuned import plan_tuned, run_tuned

    if given := [option for option, value in refused.items() if value is not None]:
        raise ValueError(f"{given[0]} does not go with study tuned: its budget is --trials, --studies and --finals")
    plans = plan_tuned([parse_loss(text, "--loss") for text in losses or []], datasets or (), shared, **budget)
    if dry_run:
        configs = [config for plan in plans for config in plan.points()]
        part = configs if how["shard"] is None else take_shard(configs, how["shard"])
        _show_plan(part, output, how["workers"], how["device"], how["data"], [])
        finals = sum(len(plan.losses) * plan.studies * plan.finals for plan in plans)
        typer.echo(f"then {finals} finals of the winners, and more trials where a range is extended", err=True)
        sys.exit(0)
    summary = Summary(0)
    for plan in plans:
        result = run_tuned(plan, output, say=typer.echo, **how)
        typer.echo(result)
        summary += result.summary
        if summary.interrupted:
            break
    _end_study(summary, output, report)


def _tuned(losses: list[str] | None) -> list[str]:
    """The settings that losses have of their own."""
    own = [parse_own_settings(text)[1] for text in losses or []]
    return sorted({name for settings in own for name in settings})


def run_demo(
    workers: Workers = None,
    dry_run: DryRun = False,
    device: Device = None,
    output: Output = None,
) -> None:
    """Compare four losses on real images, with right and with wrong training targets, in about two minutes."""
    from lossbench.records.record import output_folder
    from lossbench.studies import demo

    folder = output_folder(output)
    if not dry_run:
        refuse_unwritable(folder)
    typer.echo(demo.describe_demo(folder))
    if dry_run:
        _show_plan(demo.plan_demo(), output, workers, device, None, ())
        return

    def write_report() -> Path:
        from lossbench.report import build

        return build(output, pdf=False)

    summary = demo.run_demo(output, write_report, typer.echo, workers=workers, device=device)
    typer.echo(summary)
    if not summary.interrupted:
        typer.echo(write_report())
    sys.exit(summary.exit_code)


def _plan(
    name: str | None,
    loss: list[str] | None,
    datasets: Sequence[str],
    seeds: int | None,
    shared: dict[str, Any],
    scale: str | None,
) -> list[RunConfig]:
    from lossbench.studies.plans import plan_losses, plan_study

    if (name is None) == (not loss):
        raise ValueError("give the name of a study, such as thesis, or losses to compare, such as --loss focal:gamma=2")
    if name is not None:
        return plan_study(name, datasets, seeds, shared, "laptop" if scale is None else scale)
    if scale is not None:
        raise ValueError(f"--scale {scale} belongs to a named study; use --epochs, --dataset and --set with --loss")
    texts, own = zip(*(parse_own_settings(text, "--loss") for text in loss or []), strict=True)
    return plan_losses([parse_loss(text, "--loss") for text in texts], datasets, seeds, shared, own)


def _show_plan(
    configs: list[RunConfig],
    output: Path | None,
    workers: int | None,
    device: str | None,
    data: Path | None,
    looks: Sequence[int],
) -> None:
    from lossbench.records.record import Record
    from lossbench.studies.estimate import estimate

    todo = [config for config in configs if not Record.of(config, output).has(config, data)]
    typer.echo("\n".join(config.run_id for config in todo))
    typer.echo(f"{len(configs)} runs, {len(configs) - len(todo)} finished, {len(todo)} to do", err=True)
    if todo:
        typer.echo(estimate(todo, workers=workers, device=device, data=data, looks=looks), err=True)


def _show_differences(name: str | None, scale: str | None) -> None:
    """Where a study at the papers' scale is not what its paper did."""
    from lossbench.studies.plans import STUDIES

    if name is not None and scale is not None and (differs := STUDIES[name].scale(scale).differs):
        typer.echo("\n".join(["where this is not the paper's protocol:", *(f"- {line}" for line in differs)]), err=True)


def _print_epoch(row: dict[str, float]) -> None:
    scores = "  ".join(f"{name} {value:.4f}" for name, value in row.items() if name not in ("epoch", "lr"))
    typer.echo(f"epoch {row['epoch']:>3}  {scores}")
