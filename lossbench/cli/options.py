"""The options that commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lossbench.config import describe_fields

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
        help="Run the winners once more on other training images: label_noise=0.4, imbalance=100, train_size=500, or "
        "several fields at once: label_noise=0.4,noise_kind=asymmetric; may repeat. (study tuned)",
    ),
]
Optimizer = Annotated[str | None, typer.Option(help="adam, sgd, ...: the optimizer of all runs.")]
TrainSize = Annotated[int | None, typer.Option(min=1, help="Images to train on, evenly of each class.")]
Price = Annotated[float | None, typer.Option(min=0, help="Of an hour of one core, for --plan.")]
