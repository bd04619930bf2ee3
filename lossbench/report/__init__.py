"""One self-contained HTML page about the runs in an output folder."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from lossbench.config import RunConfig
from lossbench.files import require_writable, write_text
from lossbench.records import output_folder
from lossbench.report import figures, findings, panels, tables
from lossbench.report.evidence import Evidence, gather, limitations, result_of
from lossbench.report.figures import Figure
from lossbench.report.tables import Table

__all__ = ["build"]


def build(output: str | os.PathLike[str] | None = None) -> Path:
    """Write `<output>/report.html`, and its tables and figures as files beside it.

    The page needs no network and no other file. Tables go to `<output>/tables/` (CSV, Markdown), figures to
    `<output>/figures/` (PNG, SVG).

    Args:
        output: folder with `runs/`; None takes LOSSBENCH_OUTPUT, else `outputs`.

    Returns: the path of the page.

    Raises:
        ValueError: no finished run there; the message says how to make some.
        PermissionError: the folder cannot be written.
    """
    from jinja2 import Environment

    folder = output_folder(output)
    found = gather(folder)
    require_writable(folder)
    for kind in ("figures", "tables"):  # of an earlier report, which may have had more settings
        for stale in (folder / kind).glob("setting-*"):
            stale.unlink()
    here = resources.files("lossbench.report")
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        (here / "template.html").read_text(encoding="utf-8")
    )
    parts = [_part(evidence, folder, alone=len(found) == 1) for evidence in found]
    for number, figure in enumerate((one for part in parts for one in part["figures"].values()), start=1):
        figure["number"] = number
    for number, table in enumerate((one for part in parts for one in part["tables"].values()), start=1):
        table["number"] = number
    css = (here / "style.css").read_text(encoding="utf-8")
    page = template.render(parts=parts, css=css, runs=sum(len(evidence.runs) for evidence in found))
    return write_text(folder / "report.html", page)


def _part(evidence: Evidence, folder: Path, alone: bool) -> dict[str, Any]:
    """Everything the template needs about one setting."""
    best = panels.best_run(evidence)
    names = result_of(folder, best["run_id"]).get("class_names", []) if best is not None else []
    # In the order of the page, which numbers them.
    drawn, shown = [panels.accuracy(evidence)], [tables.accuracy(evidence)]
    losses = set(evidence.runs["loss"])
    if "cross_entropy" in losses and len(losses) > 1:
        drawn.append(panels.differences(evidence))
        shown.append(tables.differences(evidence))
    if evidence.history["curve"].notna().any():
        drawn += [panels.curves(evidence), panels.epochs(evidence)]
        shown.append(tables.epochs(evidence))
    drawn += panels.confusion(evidence, folder, names)
    shown.append(tables.every_run(evidence))
    missing = [*limitations(evidence)]
    if best is not None and not any(figure.name.endswith("confusion") for figure in drawn):
        missing.append(("No predictions", "the best run's predictions.npz is gone, so its mistakes are not shown."))
    return {
        "slug": evidence.slug,
        "alone": alone,
        "name": evidence.setting.name,
        "facts": _facts(evidence, folder),
        "says": [*findings.say(evidence)],
        "silent": [*findings.do_not_say(evidence)],
        "limits": missing,
        "figures": {figure.name.rsplit("-", 1)[1]: _figure(figure, folder) for figure in drawn},
        "tables": {table.name.rsplit("-", 1)[1]: _table(table, folder) for table in shown},
    }


def _figure(figure: Figure, folder: Path) -> dict[str, Any]:
    figures.save(figure, folder / "figures")
    wide = figure.width > figures.PANEL_WIDTH + 0.2
    return {"title": figure.title, "caption": figure.caption, "panels": figures.render(figure), "large": wide}


def _table(table: Table, folder: Path) -> dict[str, Any]:
    tables.save(table, folder / "tables")
    grouped = table.shown.columns[0] == tables.GROUP
    rows = [row if grouped else ["", *row] for row in table.shown.to_numpy().tolist()]
    heads = list(table.shown.columns[1:] if grouped else table.shown.columns)
    words = [head in tables.WORDS for head in heads]
    return {"title": table.title, "heads": heads, "rows": rows, "words": words}


def _facts(evidence: Evidence, folder: Path) -> list[tuple[str, str]]:
    """What was run, on what, how long."""
    runs, fields = evidence.runs, evidence.setting.fields
    result = result_of(folder, runs["run_id"].iloc[0])
    seconds = runs["seconds"].astype(float)
    seeds = sorted(runs["seed"].astype(int).unique())
    functions = [name for name, _ in evidence.by_probability()]
    done = int((runs["status"] == "finished").sum())
    images = f"{result['train_images']:,} training and " if "train_images" in result else ""
    images += f"{result['test_images']:,} test images, " if "test_images" in result else ""
    versions = ", ".join(f"{name} {version}" for name, version in (result.get("versions") or {}).items())
    chosen = "held-out training images" if evidence.judged_on == "validation" else "the test images (optimistic)"
    return [
        ("Runs", f"{len(runs)}: {done} finished, {len(runs) - done} diverged"),
        ("Losses", ", ".join(dict.fromkeys(runs["label"]))),
        ("Probability functions", ", ".join(functions)),
        ("Seeds", f"{len(seeds)}: {', '.join(map(str, seeds))}"),
        ("Data", f"{fields['dataset']}, {images}fingerprint {str(result.get('dataset_fingerprint'))[:12]}"),
        ("Model", f"{fields['model']}, {result['num_parameters']:,} parameters"),
        (
            "Training",
            _training(fields),
        ),
        (
            "Protocol",
            f"the epoch is chosen on {chosen}; the test images are scored once, with that epoch's weights",
        ),
        ("Time", f"{_time(seconds.sum())} of training in all, {_time(seconds.median())} a run (median)"),
        ("Machine", f"{result.get('device')}, threads a run: {result.get('threads')}; {versions}"),
        ("Commit", str(result.get("commit") or "not recorded")),
    ]


def _training(fields: dict[str, Any]) -> str:
    """The optimizer in words, and whatever else is not at its default."""
    said = ("dataset", "model", "epochs", "selection", "optimizer", "lr", "scheduler", "batch_size")
    other = [f"{name} {fields[name]}" for name in fields if name not in said and _changed(name, fields[name])]
    return (
        f"{fields['epochs']} epochs, batches of {fields['batch_size']}, {fields['optimizer']} with learning rate "
        f"{fields['lr']:g} ({fields['scheduler']}); " + (", ".join(other) or "everything else at its default")
    )


def _changed(name: str, value: Any) -> bool:
    default = RunConfig.__dataclass_fields__[name].default
    return not (value == default or (default is None and pd.isna(value)))


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
