"""Does the choice of loss function matter for image classification, and how would you know?

The public names load on first use, so that `import lossbench` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Criterion": "lossbench.losses",
    "LOSSES": "lossbench.losses",
    "PROBABILITIES": "lossbench.losses.probabilities",
    "MODELS": "lossbench.models",
    "DATASETS": "lossbench.data",
    "STUDIES": "lossbench.studies.plans",
    "RunConfig": "lossbench.config",
    "extend": "lossbench.registry",
    "load": "lossbench.training.trained",
    "load_history": "lossbench.records.tables",
    "load_runs": "lossbench.records.tables",
    "reference": "lossbench.records.archive",
    "register": "lossbench.losses",
    "register_dataset": "lossbench.data",
    "register_metric": "lossbench.stats.metrics",
    "register_model": "lossbench.models",
    "run": "lossbench.training.run",
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


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in _MODULES:
        return import_module(f"lossbench.{_MODULES[name]}")
    raise AttributeError(f"module 'lossbench' has no attribute {name!r}")


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
