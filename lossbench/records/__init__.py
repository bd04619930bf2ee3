"""What a run leaves on disk, and how many are read back as tables; everything loads on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"lossbench.records.{_HOME[name]}"), name)
    raise AttributeError(f"module 'lossbench.records' has no attribute {name!r}")


if TYPE_CHECKING:
    from lossbench.records.record import Record as Record
    from lossbench.records.record import output_folder as output_folder
    from lossbench.records.tables import load_history as load_history
    from lossbench.records.tables import load_runs as load_runs
