"""Options that several commands of the command line share, and the many of `lossbench study`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

Output = Annotated[
    Path | None,
    typer.Option(help="Folder for results. (default: LOSSBENCH_OUTPUT, else outputs)", show_default=False),
]
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


class Until(StrEnum):
    """When a study ends, other than after a number of seeds."""

    decided = "decided"


StudyName = Annotated[str | None, typer.Argument(help="See `lossbench list studies`.")]
Losses = Annotated[
    list[str] | None,
    typer.Option(help="Instead of a named study: a loss to compare, such as focal:gamma=2; repeat for each."),
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
Settings = Annotated[list[str] | None, typer.Option("--set", help="A RunConfig field for all runs, such as epochs=5.")]
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
Price = Annotated[float | None, typer.Option(min=0, help="Of an hour of one core, for --plan.")]
