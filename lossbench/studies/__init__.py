"""Many runs: what is planned, and how it is executed; everything loads on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = [
    "ENGINES",
    "STUDIES",
    "compare_losses",
    "parse_shard",
    "plan_losses",
    "plan_study",
    "run_configs",
    "take_shard",
]

_HOME = {
    "ENGINES": "execute",
    "STUDIES": "plans",
    "compare_losses": "plans",
    "parse_shard": "execute",
    "plan_losses": "plans",
    "plan_study": "plans",
    "run_configs": "execute",
    "take_shard": "execute",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"lossbench.studies.{_HOME[name]}"), name)
    raise AttributeError(f"module 'lossbench.studies' has no attribute {name!r}")


if TYPE_CHECKING:
    from lossbench.studies.execute import ENGINES as ENGINES
    from lossbench.studies.execute import parse_shard as parse_shard
    from lossbench.studies.execute import run_configs as run_configs
    from lossbench.studies.execute import take_shard as take_shard
    from lossbench.studies.plans import STUDIES as STUDIES
    from lossbench.studies.plans import compare_losses as compare_losses
    from lossbench.studies.plans import plan_losses as plan_losses
    from lossbench.studies.plans import plan_study as plan_study
