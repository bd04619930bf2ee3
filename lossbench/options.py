"""Options that several commands of the command line share."""

from __future__ import annotations

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
