"""`lossbench challenge`: a verdict on a loss of somebody's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lossbench.cli.options import Data, Device, DryRun, Output, Workers
from lossbench.files import refuse_unwritable


def challenge_loss(
    file: Annotated[Path, typer.Argument(help="A Python file that registers a loss; with --check a verdict.json.")],
    loss: Annotated[str | None, typer.Option(help="Which loss, where the file registers several.")] = None,
    setting: Annotated[
        str | None,
        typer.Option(
            help="features of a frozen published network, or small_cnn trained whole. (default: features, where the "
            "extra `pretrained` is installed)",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        str, typer.Option(help="standard: 16 trials, 3 studies, 5 finals; or small, for a first look: 2, 3, 1.")
    ] = "standard",
    salt: Annotated[
        str,
        typer.Option(help="A word of whoever asks for the verdict, chosen when the code is final; part of the seeds."),
    ] = "",
    check: Annotated[bool, typer.Option("--check", help="Compute a verdict.json again from what it holds.")] = False,
    dry_run: DryRun = False,
    workers: Workers = None,
    device: Device = None,
    data: Data = None,
    output: Output = None,
) -> None:
    """Tune a loss and cross-entropy alike, and say on fresh seeds how they differ: one page, one JSON file.

    The code runs in a process that sees logits and targets only. Exit code 1: no verdict, because the code failed or
    was refused, or, with --check, because the file contradicts itself.
    """
    from lossbench.records.record import output_folder
    from lossbench.studies import challenge
    from lossbench.studies.estimate import estimate

    if check:
        wrong = challenge.check(file)
        typer.echo("\n".join(wrong) or "hashes, seeds, winners, numbers and the word follow from the file")
        sys.exit(bool(wrong))
    refuse_unwritable(output_folder(output))
    challenger = challenge.prepare(file, output, loss=loss, setting=setting, budget=budget, salt=salt)
    if dry_run:
        text, runs = challenger.expect()
        typer.echo("\n".join([text, *([estimate(runs, workers=workers, device=device, data=data)] if runs else [])]))
        return
    verdict = challenger.judge(typer.echo, workers=workers, device=device, data=data)
    from lossbench.report.challenge import build

    typer.echo(f"{verdict['sentence']}\n{build(verdict)}")
    sys.exit("judged" not in verdict)
