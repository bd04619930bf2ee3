"""What a run leaves on disk, and how many are read back as tables; everything loads on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossbench.doors import on_first_use

__all__ = [
    "Record",
    "load_history",
    "load_runs",
    "output_folder",
]

_HOME = {
    "Record": "record",
    "load_history": "tables",
    "load_runs": "tables",
    "output_folder": "record",
}


__getattr__ = on_first_use(__name__, _HOME)


if TYPE_CHECKING:
    from lossbench.records.record import Record as Record
    from lossbench.records.record import output_folder as output_folder
    from lossbench.records.tables import load_history as load_history
    from lossbench.records.tables import load_runs as load_runs
