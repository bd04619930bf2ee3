"""One self-contained HTML page about the runs in an output folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

from lossbench.claims import decide
from lossbench.files import require_writable, write_text
from lossbench.records import archive
from lossbench.records.declaration import declared_tuned
from lossbench.records.packed import packed_folders
from lossbench.records.record import output_folder
from lossbench.report import claims, page, study, tables, tuned
from lossbench.report.drawing import Figure
from lossbench.report.evidence import Study, gather, read

__all__ = ["build", "page_folder"]

OURS = (
    "setting-*",
    "tuned-*",
    "across-*",
    "published-00*",
    "claims.*",
    "comparisons.*",
)  # of an earlier report, perhaps a larger

MOST_PDFS = 30  # figures that are written as PDF unasked


def build(
    output: str | os.PathLike[str] | None = None, to: str | os.PathLike[str] | None = None, pdf: bool | None = None
) -> Path:
    """Write `report.html`, and its tables and figures as files beside it.

    The page needs no network and no other file. Tables go to `tables/` (CSV, Markdown, LaTeX), figures to `figures/`
    (PNG, SVG and, if they are few or `pdf` says so, PDF). `tables/comparisons.csv` holds every comparison with
    cross-entropy, as it was judged.

    Args:
        output: folder with `runs/`, a packed study or a folder of them; None takes LOSSBENCH_OUTPUT, else `outputs`.
        to: folder for the page; None takes `page_folder(output)`.
        pdf: whether figures are also written as PDF, which takes as long as all the rest; None: if they are few.

    Studies in which every loss was tuned have a page of their own, `tuned.html`, and no place on the other.

    Returns: the path of the page; that of `tuned.html` where there are no other runs.

    Raises:
        ValueError: no finished run there; the message says how to make some.
        PermissionError: the folder cannot be written.
    """
    source = output_folder(output)
    read_tables, plans = read(source), declared_tuned(source)
    others = read_tables.without(tuned.run_ids(plans))
    decided = decide(read_tables, plans=plans)
    folder = require_writable(page_folder(source) if to is None else Path(to))
    for kind in ("figures", "tables"):
        for stale in (path for pattern in OURS for path in (folder / kind).glob(pattern)):
            stale.unlink()
    if plans:
        kinds = ["png", "svg", *(["pdf"] if pdf or (pdf is None and len(plans) <= MOST_PDFS // 4) else [])]
        alone = claims.in_groups(claims.link_figures(decided, [], ())) if others.runs.empty else {}
        written = tuned.build(plans, read_tables, folder, kinds, alone)
        if others.runs.empty:
            return written
    return _write(others, decided, source, folder, pdf)


def _write(read_tables: archive.AllTables, decided: pd.DataFrame, source: Path, folder: Path, pdf: bool | None) -> Path:
    """Write the page about the runs that are not part of a tuned study."""
    studies = gather(source, read_tables)
    comparison = tables.comparisons(studies)
    write_text(folder / "tables" / "comparisons.csv", comparison[list(tables.COMPARISONS)].to_csv(index=False))
    shown = contents(studies, comparison)
    names = {figure.name for figure in page.figures_of(shown)}
    decided = claims.link_figures(decided, studies, names)
    tables.save(claims.claims_table(decided), folder / "tables")
    kinds = ["png", "svg", *(["pdf"] if pdf or (pdf is None and len(names) <= MOST_PDFS) else [])]
    text = page.render(shown | {"claims": claims.in_groups(decided)}, folder, kinds)
    return write_text(folder / "report.html", text)


def contents(studies: list[Study], comparison: Any) -> dict[str, Any]:
    """Everything that the template shows but the claims, in the order of the page."""
    full = study.shown_in_full(studies)
    conditions: dict[str, list[Figure]] = {
        field: [figure for one in studies for figure in study.robustness(one, field)]
        for field in ("label_noise", "imbalance")
    }
    return {
        "front": study.front(studies, comparison),
        "conditions": conditions,
        "studies": [study.page_of_study(one, full) for one in studies],
        "published": [*claims.compare(studies)],
    }


def page_folder(output: Path) -> Path:
    """Where the page about `output` goes: into it, or, if it is packed and meant to be kept as it is, into
    `reports/<its name>/` in the folder for results.
    """
    return output_folder() / "reports" / output.resolve().name if packed_folders(output) else output
