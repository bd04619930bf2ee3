"""Many runs: what is planned, and how it is executed; everything loads on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossbench.doors import on_first_use

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

_HOME = dict.fromkeys(__all__, "execute")
_HOME |= dict.fromkeys(("STUDIES", "compare_losses", "plan_losses", "plan_study"), "plans")


__getattr__ = on_first_use(__name__, _HOME)


if TYPE_CHECKING:
    from lossbench.studies.execute import ENGINES as ENGINES
    from lossbench.studies.execute import parse_shard as parse_shard
    from lossbench.studies.execute import run_configs as run_configs
    from lossbench.studies.execute import take_shard as take_shard
    from lossbench.studies.plans import STUDIES as STUDIES
    from lossbench.studies.plans import compare_losses as compare_losses
    from lossbench.studies.plans import plan_losses as plan_losses
    from lossbench.studies.plans import plan_study as plan_study
