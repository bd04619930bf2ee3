"""What was run: facts of one setting, and a table of all settings of a study."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lossbench.config import RunConfig
from lossbench.report.blocks import frame
from lossbench.report.evidence import Evidence, Study
from lossbench.report.tables import Table


def facts(evidence: Evidence) -> list[tuple[str, str]]:
    """Runs, losses, seeds, data, model, training, protocol, time and machine, as far as the records know them."""
    runs, fields = evidence.runs, evidence.setting.fields
    seconds = runs["seconds"].astype(float)
    seeds = sorted(runs["seed"].astype(int).unique())
    functions = [name for name, _ in evidence.by_probability()]
    done = int((runs["status"] == "finished").sum())
    chosen = "held-out training images" if evidence.judged_on == "validation" else "the test images (optimistic)"
    return [
        ("Runs", f"{len(runs)}: {done} finished, {len(runs) - done} diverged"),
        ("Losses", ", ".join(dict.fromkeys(runs["label"]))),
        ("Probability functions", ", ".join(functions)),
        ("Seeds", f"{len(seeds)}: {', '.join(map(str, seeds))}"),
        ("Data", f"{fields['dataset']}, {_images(runs)}fingerprint {_first(runs, 'dataset_fingerprint')[:12]}"),
        ("Model", f"{fields['model']}, {_parameters(runs)}"),
        ("Training", _training(fields)),
        ("Protocol", f"the epoch is chosen on {chosen}; the test images are scored once, with that epoch's weights"),
        ("Time", f"{time(seconds.sum())} of training in all, {time(seconds.median())} a run (median)"),
        ("Machine", f"{_first(runs, 'device')}, threads a run: {_first(runs, 'threads')}; {evidence.versions}"),
        ("Commit", _first(runs, "commit")),
    ]


def _first(runs: pd.DataFrame, column: str) -> str:
    values = runs[column].dropna().tolist() if column in runs else []
    return str(values[0]) if values else "not recorded"


def _whole(runs: pd.DataFrame, column: str) -> str:
    """A count in all runs, as a range where it differs."""
    values = runs[column].dropna().astype(int) if column in runs else pd.Series(dtype=int)
    if values.empty:
        return ""
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _images(runs: pd.DataFrame) -> str:
    parts = [(_whole(runs, "train_images"), "training"), (_whole(runs, "test_images"), "test")]
    said = " and ".join(f"{count} {name}" for count, name in parts if count)
    return f"{said} images, " if said else ""


def _parameters(runs: pd.DataFrame) -> str:
    return f"{count} parameters" if (count := _whole(runs, "num_parameters")) else "parameters not recorded"


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


def time(seconds: float) -> str:
    """Seconds in the unit that reads best."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def settings_table(study: Study) -> Table:
    """A row a setting: what was run and how long it took."""
    rows = []
    for one in study.settings:
        runs = one.runs
        rows.append(
            {
                "setting": one.setting.name,
                "runs": len(runs),
                "diverged": int((runs["status"] != "finished").sum()),
                "losses": runs["label"].nunique(),
                "functions": len(one.by_probability()),
                "seeds": runs["seed"].nunique(),
                "epochs": int(one.setting.fields["epochs"]),
                "hours": float(runs["seconds"].astype(float).sum()) / 3600,
            }
        )
    values = frame(rows, list(rows[0]))
    shown = values.assign(hours=[f"{hours:.1f}" for hours in values["hours"]]).astype(str)
    return Table(f"{study.slug}-settings", "What was run; hours of training", values, shown)
