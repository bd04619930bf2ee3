"""One self-contained HTML page about the runs in an output folder."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from lossbench.claims import decide
from lossbench.files import require_writable, write_text
from lossbench.packed import packed_folders
from lossbench.records import output_folder
from lossbench.report import against, claims, findings, page, tables
from lossbench.report.blocks import Part, Section
from lossbench.report.evidence import Study, gather, read
from lossbench.report.figures import Figure
from lossbench.report.study import shown_in_full, study_part

__all__ = ["build", "page_folder"]

TITLE = "Does the choice of loss function matter?"
OURS = ("setting-*", "across-*", "published-00*", "claims.*")  # files of an earlier report, which may have had more


def build(output: str | os.PathLike[str] | None = None, to: str | os.PathLike[str] | None = None) -> Path:
    """Write `report.html`, and its tables and figures as files beside it.

    The page needs no network and no other file. Tables go to `tables/` (CSV, Markdown, LaTeX), figures to `figures/`
    (PNG, SVG, PDF).

    Args:
        output: folder with `runs/`, a packed study or a folder of them; None takes LOSSBENCH_OUTPUT, else `outputs`.
        to: folder for the page; None takes `page_folder(output)`.

    Returns: the path of the page.

    Raises:
        ValueError: no finished run there; the message says how to make some.
        PermissionError: the folder cannot be written.
    """
    source = output_folder(output)
    read_tables = read(source)
    studies = gather(source, read_tables)
    folder = require_writable(page_folder(source) if to is None else Path(to))
    for kind in ("figures", "tables"):
        for stale in (path for pattern in OURS for path in (folder / kind).glob(pattern)):
            stale.unlink()
    runs = len({run_id for study in studies for run_id in study.runs["run_id"]})
    whole = _evidence(studies)
    names = {block.name for block in page.blocks_of(whole) if isinstance(block, Figure)}
    judged = claims.link_figures(decide(read_tables), studies, names)
    tables.save(claims.claims_table(judged), folder / "tables")
    top = replace(whole, sections=[claims.claims_section(judged), *whole.sections])
    text = page.render(TITLE, _subtitle(studies, runs), findings.answer(studies), top, folder)
    return write_text(folder / "report.html", text)


def page_folder(output: Path) -> Path:
    """Where the page about `output` goes: into it, or, if it is packed and meant to be kept as it is, into
    `reports/<its name>/` in the folder for results.
    """
    return output_folder() / "reports" / output.resolve().name if packed_folders(output) else output


def _evidence(studies: list[Study]) -> Part:
    """Everything but the claims."""
    full = shown_in_full(studies)
    published = [*against.compare(studies)]
    sections = [Section("published", "Published against measured", published)] if published else []
    return Part("top", "", sections=sections, parts=[study_part(study, full) for study in studies])


def _subtitle(studies: list[Study], runs: int) -> str:
    settings = [one.setting.name for study in studies for one in study.settings]
    named = "; ".join(settings) if len(settings) <= 3 else f"{len(settings)} settings"
    if len(studies) > 1:
        named += f" in {len(studies)} studies"
    return f"{runs:,} run{'' if runs == 1 else 's'} of image classifiers, compared by lossbench: {named}."
