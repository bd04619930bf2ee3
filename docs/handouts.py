"""What a lecturer hands out: the notebooks without solutions, and every figure of the course as a file."""

from __future__ import annotations

import base64
import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import nbformat


def without_solutions(notebook: Any) -> Any:
    """A notebook as students get it: exercises and their checks stay, solutions and results go."""
    handout = copy.deepcopy(notebook)
    handout.cells = [cell for cell in handout.cells if "solution" not in cell.metadata.get("tags", [])]
    for cell in handout.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return handout


def figures_of(notebook: Any) -> list[tuple[str, bytes]]:
    """The pictures in a notebook's results, in their order: what each shows, and its PNG."""
    found = []
    for cell in notebook.cells:
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        for output in cell.get("outputs", []):
            if picture := output.get("data", {}).get("image/png"):
                found.append((alt, base64.b64decode(picture)))
    return found


def write_handouts(written: Mapping[str, Any], executed: Mapping[str, Any], folder: Path) -> None:
    """Write `students.zip` and `figures.zip`, which has an `index.md` of what each figure shows.

    Args:
        written, executed: file name -> notebook, as it is in the repository and with its results.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ZipFile(folder / "students.zip", "w", ZIP_DEFLATED) as archive:
        for name, notebook in written.items():
            archive.writestr(f"notebooks/{name}", nbformat.writes(without_solutions(notebook)))
    lines = ["# The figures of the course\n"]
    with ZipFile(folder / "figures.zip", "w") as archive:  # PNG is packed already
        for name, notebook in executed.items():
            for i, (alt, picture) in enumerate(figures_of(notebook), start=1):
                file = f"{Path(name).stem}-{i:02}.png"
                archive.writestr(f"figures/{file}", picture)
                lines.append(f"- `{file}`: {' '.join(alt.split()) or 'see the notebook'}")
        archive.writestr("figures/index.md", "\n".join(lines) + "\n")
