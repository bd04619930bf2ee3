"""The command line. Nothing heavy loads before a command needs it."""

from __future__ import annotations

import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lossbench.data.commands import app as data_app
from lossbench.files import DiskFull, refuse_unwritable
from lossbench.interrupt import Stop, gentle_interrupt
from lossbench.lease import Held
from lossbench.options import (
    Address,
    Data,
    Datasets,
    Device,
    DryRun,
    EngineName,
    Epochs,
    Extend,
    Gpus,
    Losses,
    Margin,
    Output,
    Plan,
    Price,
    Report,
    ScaleName,
    Seeds,
    Settings,
    Shard,
    StudyName,
    Tensorboard,
    Timeout,
    UntilDecided,
    Workers,
)
from lossbench.registry import extend, parse_loss, parse_pairs

if TYPE_CHECKING:
    from lossbench.config import RunConfig

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Does the choice of loss function matter for image classification, and how would you know?",
)
notebook_app = typer.Typer(no_args_is_help=True, help="List and execute the notebooks, with strict parameters.")
app.add_typer(data_app, name="data")
app.add_typer(notebook_app, name="notebook")


class Kind(StrEnum):
    """What `lossbench list` can list."""

    losses = "losses"
    probabilities = "probabilities"
    models = "models"
    datasets = "datasets"
    studies = "studies"


def main() -> None:
    """Run the command line.

    A mistake in what was asked for is one line on standard error and exit code 2, a full disk or a run that another
    process holds is one line and exit code 1.
    """
    warnings.showwarning = _show_warning
    try:
        app()
    except (DiskFull, Held) as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(1)
    except (ValueError, TypeError, OSError) as error:
        if hasattr(error, "__notes__"):  # raised while training, so not the user's mistake
            raise
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(2)
    except SystemExit as end:
        if (where := _foreign_exit(end)) is None:
            raise
        typer.secho(
            f"error: {where} calls sys.exit({end.code!r}), which ends the program; take it out", fg="red", err=True
        )
        sys.exit(2)


def _foreign_exit(end: SystemExit) -> str | None:
    """The file and line that ended the program where that was neither lossbench nor its command line."""
    frame, line = list(traceback.walk_tb(end.__traceback__))[-1]
    while frame.f_globals.get("__name__") == "_sitebuiltins" and frame.f_back:  # exit() and quit()
        frame, line = frame.f_back, frame.f_back.f_lineno
    if str(frame.f_globals.get("__name__")).partition(".")[0] in ("lossbench", "typer", "click"):
        return None
    return f"{frame.f_code.co_filename}, line {line},"


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """One line, without the place in our source that Python adds."""
    typer.secho(f"warning: {message}", fg="yellow", err=True)


@app.command("list")
def list_entries(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    long: Annotated[bool, typer.Option("--long", help="Everything that is known about each entry.")] = False,
    extensions: Extend = None,
) -> None:
    """List what can be named in a run or a study."""
    from lossbench.listing import describe

    extend(*extensions or ())
    typer.echo(describe(kind.value, long=long))


@app.command("run")
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
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other RunConfig field, such as lr=0.01 or optimizer=sgd."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    tensorboard: Tensorboard = False,
    resume: Annotated[
        str, typer.Option(help="Go on from a checkpoint of the same threads, device and torch; anyway; or never.")
    ] = "same",
    device: Device = None,
    data: Data = None,
    extensions: Extend = None,
    output: Output = None,
) -> None:
    """Train and score one configuration; the record is kept in OUTPUT/runs/<run_id>/. Ctrl-C ends it after an epoch."""
    from lossbench.records import output_folder

    refuse_unwritable(output_folder(output))  # before the seconds that torch takes to load
    extend(*extensions or ())
    from lossbench.config import RunConfig
    from lossbench.records import Record
    from lossbench.runner import run

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
    config = RunConfig.from_dict(named | parse_pairs(setting, "--set"))
    if Record.of(config, output).has(config, data):
        typer.echo("already finished; this is its record:")
    stopping = threading.Event()

    def progress(row: dict[str, float]) -> None:
        _print_epoch(row)
        if stopping.is_set() and row["epoch"] < config.epochs:
            raise Stop

    asked: dict[str, Any] = {"device": device, "threads": threads, "data": data, "tensorboard": tensorboard}
    try:
        with gentle_interrupt(stopping, lambda text: typer.echo(text, err=True)):
            record = run(config, output, **asked, resume=resume, progress=progress)
    except (Stop, KeyboardInterrupt):
        typer.echo("interrupted, the same command goes on from the last whole epoch", err=True)
        sys.exit(130)
    typer.echo(f"{record!r}\n{record.path}")


@app.command("study")
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
    engine: EngineName = "process",
    workers: Workers = None,
    shard: Shard = None,
    address: Address = None,
    gpus: Gpus = None,
    timeout: Timeout = None,
    tensorboard: Tensorboard = False,
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
    from lossbench.engines import ENGINES, run_configs
    from lossbench.engines.shard import parse_shard, take_shard
    from lossbench.records import output_folder

    asked = {"address": address, "gpus": gpus}
    options: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
    ENGINES[engine].accept(options)
    if shard is not None:
        parse_shard(shard)
    if not dry_run:
        refuse_unwritable(output_folder(output))  # before the seconds that torch takes to load
    extend(*extensions or ())
    from lossbench.decisions import read_margin, require_judgeable, run_until_decided
    from lossbench.declaration import declare
    from lossbench.stats import LOOKS

    shared = parse_pairs(setting, "--set") | ({} if epochs is None else {"epochs": epochs})
    looks = [look for look in LOOKS if seeds is None or look <= seeds] if until else []
    most = max(LOOKS) if plan and seeds is None else max(looks, default=seeds)
    configs = _plan(name, loss, dataset or (), most, shared, scale)
    matters = read_margin(margin)
    if plan:
        from lossbench.estimate import estimate_pilot

        here: dict[str, Any] = {"workers": workers, "device": device, "data": data}
        typer.echo(estimate_pilot(configs, output_folder(output), matters, price=price, **here))
        return
    if until:
        require_judgeable(configs, LOOKS, matters, shard)
    part = configs if shard is None else take_shard(configs, shard)
    if dry_run:
        _show_plan(part, output, workers, device, data, looks)
        return
    options |= {"engine": engine, "workers": workers, "device": device, "data": data, "tensorboard": tensorboard}
    options |= {"timeout": timeout}
    if until:
        decisions = run_until_decided(configs, output, margin=matters, study=name, say=typer.echo, **options)
        typer.echo(decisions)
        summary = decisions.summary
    else:
        declare(configs, output, margin=matters, study=name)
        summary = run_configs(part, output, **options)
    typer.echo(summary)
    if report and not summary.interrupted:
        build_report(output)
    sys.exit(summary.exit_code)


def _plan(
    name: str | None,
    loss: list[str] | None,
    datasets: Sequence[str],
    seeds: int | None,
    shared: dict[str, Any],
    scale: str | None,
) -> list[RunConfig]:
    from lossbench.study import plan_losses, plan_study

    if (name is None) == (not loss):
        raise ValueError("give the name of a study, such as thesis, or losses to compare, such as --loss focal:gamma=2")
    if name is not None:
        return plan_study(name, datasets, seeds, shared, "laptop" if scale is None else scale)
    if scale is not None:
        raise ValueError(f"--scale {scale} belongs to a named study; use --epochs, --dataset and --set with --loss")
    return plan_losses([parse_loss(text, "--loss") for text in loss or []], datasets, seeds, shared)


@app.command("weights")
def download_weights(name: Annotated[str, typer.Argument(help="A model with published weights.")]) -> None:
    """Download a model's published weights into torch's cache, for runs with pretrained=true."""
    from lossbench import models

    typer.echo(models.download_weights(name))


@app.command("report")
def build_report(
    output: Output = None,
    to: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the page. (default: OUTPUT; for a packed study reports/NAME in the output folder)"
        ),
    ] = None,
) -> None:
    """Write report.html, and its figures and tables as files, from the runs or the packed studies in OUTPUT."""
    from lossbench.report import build

    typer.echo(build(output, to))


@notebook_app.command("list")
def list_notebooks() -> None:
    """List the notebooks and their parameters."""
    from lossbench.notebook import describe_notebooks

    typer.echo(describe_notebooks())


@notebook_app.command("run")
def run_notebook(
    name: Annotated[str, typer.Argument(help="A notebook's name, part of it, or a path.")],
    parameter: Annotated[list[str] | None, typer.Option("-p", "--parameter", help="Such as epochs=3.")] = None,
    extensions: Extend = None,
    output: Output = None,
) -> None:
    """Execute a notebook into OUTPUT/notebooks/. Unknown or ill-typed parameters are refused."""
    from lossbench.notebook import NotebookFailed, execute

    extend(*extensions or ())
    try:
        typer.echo(execute(name, parse_pairs(parameter, "--parameter"), output))
    except NotebookFailed as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(1)


def _show_plan(
    configs: list[RunConfig],
    output: Path | None,
    workers: int | None,
    device: str | None,
    data: Path | None,
    looks: Sequence[int],
) -> None:
    from lossbench.estimate import estimate
    from lossbench.records import Record

    todo = [config for config in configs if not Record.of(config, output).has(config, data)]
    typer.echo("\n".join(config.run_id for config in todo))
    typer.echo(f"{len(configs)} runs, {len(configs) - len(todo)} finished, {len(todo)} to do", err=True)
    if todo:
        typer.echo(estimate(todo, workers=workers, device=device, data=data, looks=looks), err=True)


def _print_epoch(row: dict[str, float]) -> None:
    scores = "  ".join(f"{name} {value:.4f}" for name, value in row.items() if name not in ("epoch", "lr"))
    typer.echo(f"epoch {row['epoch']:>3}  {scores}")
