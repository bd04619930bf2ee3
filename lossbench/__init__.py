"""Does the choice of loss function matter for image classification, and how would you know?

The public names load on first use, so that `import lossbench` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lossbench.doors import on_first_use

__version__ = "0.1.0"

_HOME = {
    "Criterion": "losses",
    "LOSSES": "losses",
    "PROBABILITIES": "losses.probabilities",
    "MODELS": "models",
    "DATASETS": "data",
    "STUDIES": "studies.plans",
    "RunConfig": "config",
    "extend": "registry",
    "load": "training.trained",
    "load_history": "records.tables",
    "load_runs": "records.tables",
    "reference": "records.archive",
    "register": "losses",
    "register_dataset": "data",
    "register_metric": "stats.metrics",
    "register_model": "models",
    "run": "training.run",
}
_MODULES = {  # rooms, and the modules in them that are known by a name of their own
    **{
        room: room
        for room in (
            "claims",
            "data",
            "explorer",
            "losses",
            "models",
            "plots",
            "published",
            "records",
            "report",
            "stats",
            "studies",
            "training",
        )
    },
    "archive": "records.archive",
    "engines": "studies",
    "functional": "losses.functional",
    "metrics": "stats.metrics",
    "probabilities": "losses.probabilities",
    "study": "studies",
    "trees": "data.trees",
}

__all__ = [
    "DATASETS",
    "LOSSES",
    "MODELS",
    "PROBABILITIES",
    "STUDIES",
    "Criterion",
    "RunConfig",
    "extend",
    "load",
    "load_history",
    "load_runs",
    "reference",
    "register",
    "register_dataset",
    "register_metric",
    "register_model",
    "run",
]


_load = on_first_use(__name__, _HOME)


def __getattr__(name: str) -> Any:
    return import_module(f"lossbench.{_MODULES[name]}") if name in _MODULES else _load(name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, *_MODULES])


if TYPE_CHECKING:
    from lossbench.config import RunConfig
    from lossbench.data import DATASETS, register_dataset
    from lossbench.losses import LOSSES, Criterion, register
    from lossbench.losses.probabilities import PROBABILITIES
    from lossbench.models import MODELS, register_model
    from lossbench.records.archive import reference
    from lossbench.records.tables import load_history, load_runs
    from lossbench.registry import extend
    from lossbench.stats.metrics import register_metric
    from lossbench.studies.plans import STUDIES
    from lossbench.training.run import run
    from lossbench.training.trained import load
