"""The page that lists executed run notebooks: `<output>/notebooks/index.html`."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

from lossbench.config import RunConfig
from lossbench.files import write_text
from lossbench.records import Record

_RUN = re.compile(r"(?P<run_id>.+-s\d+-[0-9a-f]{6}(?:[0-9a-f]{10})?)(\.failed)?\.ipynb")
DAMAGED = "Damaged records"
_IN_COLUMNS = ("dataset", "model", "loss", "loss_params", "probability", "probability_params", "seed")


@dataclass(frozen=True)
class Row:
    """One executed notebook and what is known of its run."""

    file: str
    group: str
    label: str
    probability: str
    seed: int | None
    status: str
    accuracy: float | None
    seconds: str
    why: str

    @property
    def score(self) -> str:
        """The test accuracy as the page shows it."""
        return "" if self.accuracy is None else f"{self.accuracy:.4f}"


def write_index(output: Path) -> Path:
    """Write the page anew from what is on disk: run notebooks in `<output>/notebooks`, records in `<output>/runs`.

    The page is whole at any moment, and what was read before is not read again.
    """
    from jinja2 import Environment

    folder = output / "notebooks"
    rows: list[Row] = []
    for path in folder.glob("*.ipynb"):
        with suppress(FileNotFoundError):  # another study has just replaced it
            rows += _rows(path, output)
    rows.sort(key=lambda row: (row.group, row.accuracy is None, -(row.accuracy or 0), row.label, row.seed or 0))
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        files("lossbench.engines").joinpath("notebook_index.html").read_text(encoding="utf-8")
    )
    page = template.render(
        css=files("lossbench.report").joinpath("style.css").read_text(encoding="utf-8"),
        rows=rows,
        counts=sorted(Counter(row.status for row in rows).items(), reverse=True),
        groups=[(title, list(group)) for title, group in groupby(rows, lambda row: row.group)],
    )
    return write_text(folder / "index.html", page)


def _rows(path: Path, output: Path) -> list[Row]:
    """The row of a run's notebook; none for another notebook."""
    match = _RUN.fullmatch(path.name)
    if match is None:
        return []
    record = Record(output / "runs" / match["run_id"])
    changed = path.stat().st_mtime_ns
    try:
        return [_read(path, record, record.finished, changed)]
    except Exception as error:  # whatever is wrong with one record, the page tells of the others
        why = f"Its record cannot be read: {type(error).__name__}: {error}"
        return [Row(path.name, DAMAGED, record.path.name, "", None, "damaged", None, "", why)]


@cache
def _read(path: Path, record: Record, finished: bool, changed: int) -> Row:
    config = record.config if (record.path / "config.json").exists() else None
    result: dict[str, Any] = record.result if finished else {}
    stopped = path.name.endswith(".failed.ipynb")
    return Row(
        file=path.name,
        group=_setting(config) if config else "Without a record",
        label=config.label if config else record.path.name,
        probability=" ".join([config.probability, *_pairs(config.probability_params)]) if config else "",
        seed=config.seed if config else None,
        status=str(result.get("status", "failed")),
        accuracy=None if result.get("test_accuracy") is None else float(result["test_accuracy"]),
        seconds=f"{result['seconds']:.1f}" if finished else "",
        why=f"The notebook stopped: {_last_error(path)}" if stopped else "",
    )


def _setting(config: RunConfig) -> str:
    """What the runs of one table share: data set, model and whatever else differs from the defaults."""
    defaults = RunConfig.defaults()
    changed = {name: value for name, value in config.to_dict().items() if value != defaults[name]}
    others = {name: value for name, value in changed.items() if name not in _IN_COLUMNS}
    return ", ".join([config.dataset, config.model, *_pairs(others)])


def _pairs(values: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


def _last_error(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    errors = [item for cell in cells for item in cell.get("outputs", []) if item["output_type"] == "error"]
    return f"{errors[-1]['ename']}: {errors[-1]['evalue']}" if errors else "its kernel was ended."
