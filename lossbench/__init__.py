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
    "PROBABILITIES": "lossbench.probabilities",
    "MODELS": "lossbench.models",
    "DATASETS": "lossbench.data",
    "STUDIES": "lossbench.study",
    "RunConfig": "lossbench.config",
    "extend": "lossbench.registry",
    "load_history": "lossbench.records",
    "load_runs": "lossbench.records",
    "run": "lossbench.runner",
}
_MODULES = (
    "archive",
    "data",
    "engines",
    "explorer",
    "losses",
    "metrics",
    "models",
    "plots",
    "probabilities",
    "published",
    "records",
    "registry",
    "report",
    "stats",
    "study",
    "trees",
)

__all__ = [
    "DATASETS",
    "LOSSES",
    "MODELS",
    "PROBABILITIES",
    "STUDIES",
    "Criterion",
    "RunConfig",
    "extend",
    "load_history",
    "load_runs",
    "run",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in _MODULES:
        return import_module(f"lossbench.{name}")
    raise AttributeError(f"module 'lossbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, *_MODULES])


if TYPE_CHECKING:
    from lossbench.config import RunConfig as RunConfig
    from lossbench.data import DATASETS as DATASETS
    from lossbench.losses import LOSSES as LOSSES
    from lossbench.losses import Criterion as Criterion
    from lossbench.models import MODELS as MODELS
    from lossbench.probabilities import PROBABILITIES as PROBABILITIES
    from lossbench.records import load_history as load_history
    from lossbench.records import load_runs as load_runs
    from lossbench.registry import extend as extend
    from lossbench.runner import run as run
    from lossbench.study import STUDIES as STUDIES
