"""The command line. Nothing heavy loads before a command needs it."""

from __future__ import annotations

import errno
import io
import math
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from lossbench import __version__
from lossbench.cli_records import Output, export_app, runs_app
from lossbench.config import describe_fields
from lossbench.files import DiskFull, refuse_unwritable
from lossbench.listing import LISTS
from lossbench.records.lease import Held
from lossbench.registry import extend, parse_loss, parse_own_settings, parse_pairs
from lossbench.studies.plans import table
from lossbench.studies.worker import Stop, gentle_interrupt

if TYPE_CHECKING:
    from lossbench.config import RunConfig
    from lossbench.studies.execute import Summary


Data = Annotated[
    Path | None,
    typer.Option(help="Folder to look for the data set in. (default: LOSSBENCH_DATA)", show_default=False),
]
Tensorboard = Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard events too.")]
Extend = Annotated[
    list[Path] | None,
    typer.Option("--extend", help="A Python file that registers losses, networks, ... of yours; may repeat."),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, ... (default: a GPU if there is one)", show_default=False)]


class Keep(StrEnum):
    """What a run can leave beyond its scores and predictions."""

    weights = "weights"


Keeping = Annotated[
    Keep | None, typer.Option("--keep", help="Keep the trained network too, for `lossbench.load`. (default: no)")
]


class Until(StrEnum):
    """When a study ends, other than after a number of seeds."""

    decided = "decided"


StudyName = Annotated[str | None, typer.Argument(help="See `lossbench list studies`.")]
Losses = Annotated[
    list[str] | None,
    typer.Option(
        "--loss",
        "--losses",
        help="Instead of a named study, or of those of study tuned: a loss such as focal:gamma=2, or with a learning "
        "rate of its own focal:gamma=2@lr=0.003; repeat for each.",
    ),
]
Datasets = Annotated[list[str] | None, typer.Option(help="A data set; may be repeated.")]
Seeds = Annotated[
    int | None, typer.Option(min=1, help="Runs of each configuration, paired by seed. (default: the scale's, or 5)")
]
UntilDecided = Annotated[
    Until | None,
    typer.Option(
        "--until", help="Look after 5, 10, 20 and 40 pairs, at most --seeds, and go on only with losses that are open."
    ),
]
Margin = Annotated[
    float | None,
    typer.Option(help="The smallest difference that matters, in points of test accuracy. (default: 0.5)"),
]
ScaleName = Annotated[
    str | None,
    typer.Option(help="smoke, laptop or paper: which data, models and epochs of a named study. (default: laptop)"),
]
_FIELDS = ", ".join(
    f"{name}={default}" + ("" if allowed.startswith(("see", "names")) else f" ({allowed})")
    for name, default, allowed, _ in describe_fields()
)
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help=f"A RunConfig field, such as lr=0.01; may repeat. With the defaults: {_FIELDS}. What each may be: "
        "`lossbench list fields`.",
    ),
]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training images. (default: the scale's)")]
EngineName = Annotated[str, typer.Option(help="process, papermill, ray or ensemble: what executes the runs.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Runs at once, one thread each. (default: one per core)", show_default=False)
]
Shard = Annotated[
    str | None, typer.Option(metavar="I/N", help="Only the I-th of N equal parts of the study, as in 1/4.")
]
Address = Annotated[str | None, typer.Option(help="A Ray cluster to join. (engine ray)")]
Gpus = Annotated[float | None, typer.Option(help="GPUs, or a part of one, for each run. (engine ray)")]
Timeout = Annotated[
    float | None,
    typer.Option(help="Seconds that a run may take; one that hangs is then ended and named. (default: no limit)"),
]
Report = Annotated[bool, typer.Option("--report", help="Write the report when the runs are done.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the runs and what they will cost, and stop.")]
Plan = Annotated[
    bool,
    typer.Option(
        "--plan", help="Take the runs in OUTPUT for a pilot, show what a difference of --margin costs, and stop."
    ),
]
Trials = Annotated[int | None, typer.Option(min=2, help="Points a loss and study. (study tuned, default: 16)")]
Studies = Annotated[int | None, typer.Option(min=1, help="Independent studies a loss. (study tuned, default: 3)")]
Finals = Annotated[
    int | None, typer.Option(min=1, help="Runs of each study's winner on fresh seeds. (study tuned, default: 5)")
]
Widen = Annotated[
    bool | None,
    typer.Option(
        "--widen/--no-widen",
        help="Extend a range that holds a winner in its outer tenth, once and for all losses. (study tuned)",
    ),
]
Conditions = Annotated[
    list[str] | None,
    typer.Option(
        "--condition",
        help="Run the winners once more with a field changed, such as label_noise=0.4; may repeat. (study tuned)",
    ),
]
Optimizer = Annotated[str | None, typer.Option(help="adam, sgd, ...: the optimizer of all runs.")]
TrainSize = Annotated[int | None, typer.Option(min=1, help="Images to train on, evenly of each class.")]
Price = Annotated[float | None, typer.Option(min=0, help="Of an hour of one core, for --plan.")]


data_app = typer.Typer(name="data", help="List, import, check and download datasets.", no_args_is_help=True)
DataFolders = Annotated[
    Path | None, typer.Option(help="Folder to search instead of LOSSBENCH_DATA, cache and Debian's.")
]


@data_app.command("list")
def list_datasets(data: DataFolders = None) -> None:
    """Every dataset: classes, image shape, number of images, and whether it is here."""
    from lossbench.data.datasets import DATASETS
    from lossbench.data.loading import find_dataset, find_spec, imported_names

    typer.echo(f"{'name':<18}{'classes':>8}  {'image':<12}{'train':>8}{'test':>8}  where")
    for name in (*DATASETS, *imported_names(data)):
        spec = find_spec(name, data)
        try:
            where = "in the package" if spec.embedded else str(find_dataset(spec, data))
        except FileNotFoundError:
            where = f"not here; lossbench data info {name} says how to get it"
        shape = "x".join(map(str, spec.image_shape))
        row = f"{name:<18}{spec.num_classes:>8}  {shape:<12}{spec.train_size:>8,}{spec.test_size:>8,}  {where}"
        typer.echo(row)


@data_app.command()
def info(name: str, data: DataFolders = None) -> None:
    """Everything known about one dataset: classes, split, licence, citation, files."""
    from lossbench.data.loading import find_dataset, find_spec

    spec = find_spec(name, data)
    shape = "x".join(map(str, spec.image_shape))
    typer.echo(f"{spec.title or spec.name}: {shape}, {spec.train_size:,} to train, {spec.test_size:,} to test")
    for key in ("split", "licence", "citation", "source"):
        typer.echo(f"{key:<9} {getattr(spec, key)}")
    typer.echo(f"classes   {', '.join(spec.class_names)}")
    for file, digest in spec.files.items():
        typer.echo(f"file      {file}  {digest or 'no digest published'}")
    try:
        typer.echo(f"found     {find_dataset(spec, data)}")
    except FileNotFoundError as error:
        typer.echo(f"found     no: {error}")


@data_app.command("import")
def import_path(
    path: Path,
    name: Annotated[str | None, typer.Option(help="A dataset of `data list`, or a new name.")] = None,
    size: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH of the images of a dataset of your own.")] = None,
    grey: Annotated[bool, typer.Option("--grey", help="One channel instead of three.")] = False,
    test_fraction: Annotated[float, typer.Option(help="Share to test where no folders say.")] = 0.2,
    skip_damaged: Annotated[bool, typer.Option("--skip-damaged", help="Leave broken images out.")] = False,
    role: Annotated[
        list[str] | None,
        typer.Option(metavar="FOLDER=ROLE", help="What a folder is: train, test, validation, class or out."),
    ] = None,
    class_folder: Annotated[
        str, typer.Option(help="first or last: which of nested folders names the class.", show_default=False)
    ] = "",
) -> None:
    """Import a folder or archive (zip, tar.*) of images or of a dataset's own files into the cache."""
    from lossbench.data.importing import import_dataset

    imported = import_dataset(
        path,
        name,
        size=_parse_size(size),
        grey=grey,
        test_fraction=test_fraction,
        skip_damaged=skip_damaged,
        roles=dict(map(_parse_role, role or ())),
        class_folder=class_folder,
    )
    typer.echo(imported.describe())


@data_app.command()
def verify(name: str, data: DataFolders = None) -> None:
    """Read a dataset whole and check every byte of it."""
    from lossbench.data.loading import load

    dataset = load(name, data)
    typer.echo(f"{name}: {len(dataset.train):,} + {len(dataset.test):,} images, {dataset.fingerprint}: as expected")


@data_app.command()
def download(name: str) -> None:
    """Fetch a dataset from its publisher, check it and keep it in the cache."""
    from lossbench.data.importing import download_dataset

    imported = download_dataset(name)
    typer.echo(f"downloaded {imported.name}: {imported.train_size:,} + {imported.test_size:,} images")


def _parse_role(text: str) -> tuple[str, str]:
    folder, _, role = text.rpartition("=")
    if not folder:
        raise ValueError(f"--role takes FOLDER=ROLE, such as test1=out, got {text!r}")
    return folder, role


def _parse_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() and 0 < int(side) <= 4096 for side in sides):
        raise ValueError(f"size must be HEIGHTxWIDTH, such as 64x64, each from 1 to 4096, got {text!r}")
    return int(sides[0]), int(sides[1])


app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Does the choice of loss function matter for image classification, and how would you know?",
)
notebook_app = typer.Typer(no_args_is_help=True, help="List and execute the notebooks, with strict parameters.")
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
    changes = tuple(parse_pairs([text], "--condition") for text in condition or ()) or None
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
        build_report(output)
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


@app.command("demo")
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


def _print_epoch(row: dict[str, float]) -> None:
    scores = "  ".join(f"{name} {value:.4f}" for name, value in row.items() if name not in ("epoch", "lr"))
    typer.echo(f"epoch {row['epoch']:>3}  {scores}")
