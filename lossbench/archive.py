"""The tables of packed studies and runs, under the name that notebooks know: see `lossbench.records.archive`."""

from lossbench.records.archive import *  # noqa: F403
