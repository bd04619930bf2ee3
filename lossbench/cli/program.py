"""The command line: its commands, and what happens to errors. Nothing heavy loads before a command needs it."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
import warnings
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from lossbench import __version__
from lossbench.cli import challenge, studies
from lossbench.cli.data import data_app
from lossbench.cli.listing import LISTS
from lossbench.cli.options import Extend, Output
from lossbench.cli.records import export_app, runs_app
from lossbench.files import DiskFull
from lossbench.records.lease import Held
from lossbench.registry import extend, parse_pairs
from lossbench.studies.plans import table

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Does the choice of loss function matter for image classification, and how would you know?",
)
notebook_app = typer.Typer(no_args_is_help=True, help="List and execute the notebooks, with strict parameters.")
app.command("run")(studies.run_one)
app.command("study")(studies.run_study)
app.command("demo")(studies.run_demo)
app.command("challenge")(challenge.challenge_loss)
app.add_typer(data_app, name="data")
app.add_typer(notebook_app, name="notebook")
app.add_typer(runs_app, name="runs")
app.add_typer(export_app, name="export")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lossbench {__version__}")
        raise typer.Exit


@app.callback()
def every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


class Kind(StrEnum):
    """What `lossbench list` can list."""

    losses = "losses"
    probabilities = "probabilities"
    models = "models"
    datasets = "datasets"
    studies = "studies"
    fields = "fields"
    augmentations = "augmentations"
    optimizers = "optimizers"
    metrics = "metrics"


def main() -> None:
    """Run the command line.

    A mistake in what was asked for is one line on standard error and exit code 2, a full disk or a run that another
    process holds is one line and exit code 1, and Ctrl-C is one line and exit code 130.
    """
    _open_streams()
    warnings.showwarning = _show_warning
    if sys.flags.optimize > 1:
        _show_warning("python -OO leaves out the descriptions of losses; start it without -OO to see them")
    try:
        app()
        sys.stdout.flush()  # what cannot be written is an error, not a message at the interpreter's end
    except (DiskFull, Held) as error:
        _fail(str(error), 1)
    except (ValueError, TypeError, OSError) as error:
        if hasattr(error, "__notes__"):  # raised while training, so not the user's mistake
            raise
        _fail(str(error), 1 if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT) else 2)
    except RuntimeError as error:
        if "home directory" not in str(error):  # Path.home()
            raise
        _fail("this user has no home folder; set HOME, or LOSSBENCH_CACHE to a folder for data", 2)
    except SystemExit as end:
        if isinstance(getattr(end.__context__, "__cause__", None), KeyboardInterrupt):  # typer says nothing of it
            typer.echo("interrupted; the same command starts again, and skips the runs that are finished", err=True)
            raise
        if (where := _foreign_exit(end)) is None:
            raise
        _fail(f"{where} calls sys.exit({end.code!r}), which ends the program; take it out", 2)


def _fail(message: str, code: int) -> NoReturn:
    typer.secho(f"error: {message}", fg="red", err=True)
    sys.exit(code)


def _open_streams() -> None:
    """Let any console do: a closed stream is the null device, and what an encoding lacks is written as its number.

    What goes to a closed standard output goes to standard error. A file opened later must not become one of the three.
    """
    closed = sys.stdout is None
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            with suppress(OSError):
                os.close(number)
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    if closed:
        sys.stdout = sys.stderr
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _foreign_exit(end: SystemExit) -> str | None:
    """The file and line that ended the program where that was neither lossbench nor its command line."""
    frames = [
        (frame, line)
        for frame, line in traceback.walk_tb(end.__traceback__)
        if frame.f_globals.get("__name__") != "_sitebuiltins"  # where exit() and quit() are
    ]
    frame, line = frames[-1]
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
    extend(*extensions or ())
    headers, rows, pages = LISTS[kind]()
    typer.echo("\n\n".join(pages) if long else table(headers, rows))


@app.command("check")
def check(
    file: Annotated[Path, typer.Argument(help="A Python file that registers losses, networks, ... of yours.")],
) -> None:
    """Say in seconds what is wrong with the functions of a file, before anything is trained with them."""
    from lossbench.training.checking import check_file

    wrong = 0
    for title, findings in check_file(file):
        bad = sum(finding.wrong for finding in findings)
        wrong += bad
        typer.echo(f"{title}: {'WRONG' if bad else 'all right'}")
        for finding in findings:
            typer.echo(f"  {'wrong' if finding.wrong else 'note '}  {finding.text}")
    if wrong:
        _fail(f"{wrong} to mend in {file}", 2)


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
    pdf: Annotated[
        bool | None, typer.Option("--pdf/--no-pdf", help="Figures as PDF too. (default: up to 30 figures)")
    ] = None,
) -> None:
    """Write report.html, and its figures and tables as files, from the runs or the packed studies in OUTPUT."""
    from lossbench.report import build

    typer.echo(build(output, to, pdf))


@notebook_app.command("list")
def list_notebooks() -> None:
    """List the notebooks and their parameters."""
    from lossbench.studies.notebooks import describe_notebooks

    typer.echo(describe_notebooks())


@notebook_app.command("copy")
def copy_notebooks(
    names: Annotated[list[str] | None, typer.Argument(help="Notebooks' names or parts of them. (default: all)")] = None,
    to: Annotated[Path, typer.Option(help="The folder to copy them to.")] = Path("notebooks"),
) -> None:
    """Copy notebooks out of the package, to open and change them. What differs there is not overwritten."""
    from lossbench.studies import notebooks

    typer.echo("\n".join(map(str, notebooks.copy_notebooks(names or (), to))))


@notebook_app.command("run")
def run_notebook(
    name: Annotated[str, typer.Argument(help="A notebook's name, part of it, or a path.")],
    parameter: Annotated[list[str] | None, typer.Option("-p", "--parameter", help="Such as epochs=3.")] = None,
    to: Annotated[
        str | None, typer.Option(help="Name of the executed copy. (default: the notebook's, once)", show_default=False)
    ] = None,
    extensions: Extend = None,
    output: Output = None,
) -> None:
    """Execute a notebook into OUTPUT/notebooks/. Unknown or ill-typed parameters are refused."""
    from lossbench.studies.notebooks import NotebookFailed, execute

    extend(*extensions or ())
    try:
        given = parse_pairs(parameter, "--parameter")
        typer.echo(execute(name, given, output, name_as=to, keep_others=to is None))
    except NotebookFailed as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(1)
