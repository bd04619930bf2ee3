"""The commands that look after what runs have left: `lossbench runs` and `lossbench export`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lossbench.cli.options import Output
from lossbench.studies.plans import table

Patterns = Annotated[list[str], typer.Argument(help="Ids of runs, or patterns such as '*focal*'.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

runs_app = typer.Typer(no_args_is_help=True, help="List, show, delete and move the runs of an output folder.")
export_app = typer.Typer(no_args_is_help=True, help="Write runs as CSV, Parquet, MLflow, Weights & Biases or ONNX.")


@runs_app.command("list")
def list_runs(
    patterns: Annotated[list[str] | None, typer.Argument(help="Patterns such as '*focal*'. (default: all)")] = None,
    output: Output = None,
) -> None:
    """Every run in OUTPUT, begun ones too: its state, accuracy, time and size."""
    from lossbench.records.manage import find_runs, overview
    from lossbench.records.record import Record, output_folder

    folder = output_folder(output)
    lines = [overview(Record(folder / "runs" / run_id)) for run_id in find_runs(folder, patterns or ())]
    width = max((len(line.run_id) for line in lines), default=3)
    typer.echo(f"{'run':<{width}}  {'state':<10}  accuracy  {'epochs':>9}  {'seconds':>8}  {'MB':>6}  weights")
    for line in lines:
        accuracy = "" if line.accuracy is None else f"{line.accuracy:.4f}"
        seconds = "" if line.seconds is None else f"{line.seconds:.1f}"
        numbers = f"{accuracy:>8}  {line.epochs:>9}  {seconds:>8}  {line.size / 1e6:>6.2f}"
        typer.echo(f"{line.run_id:<{width}}  {line.status:<10}  {numbers}  {'yes' if line.weights else 'no'}")
    typer.echo(f"{len(lines)} runs, {sum(line.size for line in lines) / 1e6:.1f} MB in {folder}", err=True)


@runs_app.command("show")
def show_run(
    run_id: Annotated[str, typer.Argument(help="The id of a run, or a pattern that matches one.")],
    output: Output = None,
) -> None:
    """One run whole: settings, scores, machine, and whether each file is as it was written."""
    from lossbench.config import RunConfig
    from lossbench.records.manage import check_files, find_runs, overview
    from lossbench.records.record import Record, output_folder, read_json

    folder = output_folder(output)
    names = find_runs(folder, [run_id])
    if len(names) > 1:
        raise ValueError(f"{run_id!r} matches {len(names)} runs, such as {names[0]} and {names[1]}; give one")
    record = Record(folder / "runs" / names[0])
    typer.echo(f"{record.path.name}: {overview(record).status}\n{record.path}\n")
    defaults = RunConfig.defaults()
    config = read_json(record.path / "config.json")
    typer.echo("settings that are not the defaults")
    typer.echo(_pairs({name: value for name, value in config.items() if defaults.get(name) != value}))
    if record.finished:
        hidden = ("epoch_seconds", "class_names", "checksums")
        result = {name: value for name, value in record.result.items() if name not in hidden}
        typer.echo(f"\nresult\n{_pairs(result)}")
    typer.echo("\nfiles")
    rows: list[tuple[str, ...]] = []
    for name, state in check_files(record).items():
        path = record.path / name
        rows.append((name, f"{path.stat().st_size:,}" if path.exists() else "gone", state))
    typer.echo(table(("name", "bytes", "state"), rows))


def _pairs(values: dict[str, object]) -> str:
    return "\n".join(f"  {name}: {value}" for name, value in values.items()) or "  none"


@runs_app.command("delete")
def delete_runs(patterns: Patterns, yes: Yes = False, output: Output = None) -> None:
    """Delete runs, finished or not. One in work is refused; executed notebooks and declarations stay."""
    from lossbench.records.manage import delete_run, find_runs
    from lossbench.records.record import output_folder

    folder = output_folder(output)
    names = find_runs(folder, patterns)
    _confirm("delete", names, folder, yes)
    for name in names:
        delete_run(folder, name)
    typer.echo(f"deleted {len(names)} runs from {folder}")


@runs_app.command("move")
def move_runs(
    patterns: Patterns,
    to: Annotated[Path, typer.Option(help="The output folder to take them to.")],
    copy: Annotated[bool, typer.Option("--copy", help="Leave them here too.")] = False,
    output: Output = None,
) -> None:
    """Move or copy runs to another output folder. Each is whole at any moment; a second call goes on."""
    from lossbench.records.manage import find_runs, transfer_run
    from lossbench.records.record import output_folder

    folder = output_folder(output)
    names = find_runs(folder, patterns)
    for name in names:
        transfer_run(folder, name, to, copy=copy)
    typer.echo(f"{'copied' if copy else 'moved'} {len(names)} runs to {to}")


def _confirm(verb: str, names: list[str], folder: Path, yes: bool) -> None:
    """Ask on a terminal; elsewhere only --yes will do."""
    if yes:
        return
    shown = "\n".join([*names[:20], *([f"... and {len(names) - 20} more"] if len(names) > 20 else [])])
    if not sys.stdin.isatty():
        raise ValueError(f"to {verb} {len(names)} runs, such as {names[0]}, without being asked give --yes")
    typer.echo(shown, err=True)
    typer.confirm(f"{verb} these {len(names)} runs from {folder}?", abort=True, err=True)


TableName = Annotated[
    str, typer.Option("--table", help="runs, history, confusion, reliability or folds.", show_default=True)
]


@export_app.command("csv")
def to_csv(
    to: Annotated[Path, typer.Argument(help="The file to write.")], name: TableName = "runs", output: Output = None
) -> None:
    """A table of all runs as CSV."""
    from lossbench.records.export import export_csv
    from lossbench.records.record import output_folder

    typer.echo(f"{export_csv(to, output_folder(output), name):,} rows in {to}")


@export_app.command("parquet")
def to_parquet(
    to: Annotated[Path, typer.Argument(help="The file to write.")], name: TableName = "runs", output: Output = None
) -> None:
    """A table of all runs as Parquet. (extra parquet)"""
    from lossbench.records.export import export_parquet
    from lossbench.records.record import output_folder

    typer.echo(f"{export_parquet(to, output_folder(output), name):,} rows in {to}")


@export_app.command("mlflow")
def to_mlflow(to: Annotated[Path, typer.Argument(help="MLflow's folder.")], output: Output = None) -> None:
    """All runs as an MLflow file store, without a server. (extra mlflow)"""
    from lossbench.records.export import export_mlflow
    from lossbench.records.record import output_folder

    new = export_mlflow(to, output_folder(output))
    typer.echo(f"{new} new runs in {to}; see them with")
    typer.echo(f"MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {to}")


@export_app.command("wandb")
def to_wandb(to: Annotated[Path, typer.Argument(help="Folder to write into.")], output: Output = None) -> None:
    """All runs as offline runs of Weights & Biases; nothing is sent. (extra wandb)"""
    from lossbench.records.export import export_wandb
    from lossbench.records.record import output_folder

    new = export_wandb(to, output_folder(output))
    typer.echo(f"{new} new runs in {to}; send them with\nwandb sync {to}/wandb/offline-run-*")


@export_app.command("onnx")
def to_onnx(
    run_id: Annotated[str, typer.Argument(help="A run that was finished with --keep weights.")],
    to: Annotated[Path, typer.Argument(help="The file to write.")],
    output: Output = None,
) -> None:
    """A run's network, from uint8 images to log-probabilities. (extra onnx)"""
    from lossbench.records.export import require_extra

    require_extra("onnx")
    from lossbench.training.onnx import export_onnx
    from lossbench.training.trained import load

    typer.echo(export_onnx(to, load(run_id, output)))
