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

_OF_PLANS = ("STUDIES", "compare_losses", "plan_losses", "plan_study")


def __getattr__(name: str) -> Any:
    if name in __all__:
        module = "plans" if name in _OF_PLANS else "execute"
        return getattr(import_module(f"lossbench.studies.{module}"), name)
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
