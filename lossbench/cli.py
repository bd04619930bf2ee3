"""The command line. Nothing heavy loads before a command needs it."""

from __future__ import annotations

import sys
import threading
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from lossbench.data.commands import app as data_app
from lossbench.files import DiskFull, refuse_unwritable
from lossbench.interrupt import Stop, gentle_interrupt
from lossbench.lease import Held
from lossbench.options import Data, Device, Extend, Output, Tensorboard
from lossbench.registry import extend, parse_loss, parse_pairs

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
    if Record.of(config, output).finished:
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
    name: Annotated[str | None, typer.Argument(help="See `lossbench list studies`.")] = None,
    loss: Annotated[
        list[str] | None,
        typer.Option(help="Instead of a named study: a loss to compare, such as focal:gamma=2; repeat for each."),
    ] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="A data set; may be repeated.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Runs of each configuration, paired by seed. (default: the scale's, or 5)")
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(help="smoke, laptop or paper: which data, models and epochs of a named study. (default: laptop)"),
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A RunConfig field for all runs, such as epochs=5.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images. (default: the scale's)")] = None,
    engine: Annotated[
        str, typer.Option(help="process, papermill, ray or ensemble: what executes the runs.")
    ] = "process",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Runs at once, one thread each. (default: one per core)")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only the I-th of N equal parts of the study, as in 1/4.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="A Ray cluster to join. (engine ray)")] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs, or a part of one, for each run. (engine ray)")] = None,
    tensorboard: Tensorboard = False,
    report: Annotated[bool, typer.Option("--report", help="Write the report when the runs are done.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the runs and what they will cost, and stop.")
    ] = False,
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
    from lossbench.study import plan_losses, plan_study

    shared = parse_pairs(setting, "--set") | ({} if epochs is None else {"epochs": epochs})
    if (name is None) == (not loss):
        raise ValueError("give the name of a study, such as thesis, or losses to compare, such as --loss focal:gamma=2")
    if name is not None:
        configs = plan_study(name, dataset or (), seeds, shared, scale or "laptop")
    elif scale is not None:
        raise ValueError(f"--scale {scale} belongs to a named study; use --epochs, --dataset and --set with --loss")
    else:
        configs = plan_losses([parse_loss(text, "--loss") for text in loss or []], dataset or (), seeds, shared)
    if shard is not None:
        configs = take_shard(configs, shard)
    if dry_run:
        _show_plan(configs, output, workers, device, data)
        return
    summary = run_configs(
        configs, output, engine=engine, workers=workers, device=device, data=data, tensorboard=tensorboard, **options
    )
    typer.echo(summary)
    if report and not summary.interrupted:
        build_report(output)
    sys.exit(summary.exit_code)


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
    configs: list[Any], output: Path | None, workers: int | None, device: str | None, data: Path | None
) -> None:
    from lossbench.estimate import estimate
    from lossbench.records import Record

    todo = [config for config in configs if not Record.of(config, output).finished]
    typer.echo("\n".join(config.run_id for config in todo))
    typer.echo(f"{len(configs)} runs, {len(configs) - len(todo)} finished, {len(todo)} to do", err=True)
    if todo:
        typer.echo(estimate(todo, workers=workers, device=device, data=data), err=True)


def _print_epoch(row: dict[str, float]) -> None:
    scores = "  ".join(f"{name} {value:.4f}" for name, value in row.items() if name not in ("epoch", "lr"))
    typer.echo(f"epoch {row['epoch']:>3}  {scores}")
