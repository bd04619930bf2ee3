"""What a page is made of: parts hold sections, sections hold blocks, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pandas as pd

from lossbench.report.figures import Figure
from lossbench.report.tables import Table


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Points:
    """A list of sentences."""

    lines: Sequence[str]
    kind: ClassVar[str] = "points"


@dataclass(frozen=True)
class Facts:
    """Names with what they mean, short ones side by side if `narrow`."""

    pairs: Sequence[tuple[str, str]]
    narrow: bool = False
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class ClaimList:
    """Claims of one paper with their verdicts, as text."""

    paper: str
    rows: Sequence[dict[str, Any]]
    kind: ClassVar[str] = "claims"


Block = Text | Points | Facts | ClaimList | Figure | Table


@dataclass(frozen=True)
class Section:
    """Blocks under one heading, then more of them, folded away under the line `fold`; `slug` is its anchor."""

    slug: str
    title: str
    blocks: Sequence[Block]
    more: Sequence[Block] = ()
    fold: str = ""


@dataclass(frozen=True)
class Part:
    """Sections and further parts under one heading; without a `title` they stand in the part above."""

    slug: str
    title: str
    note: str = ""
    sections: Sequence[Section] = ()
    parts: Sequence[Part] = field(default=())
    folded: bool = False


def frame(rows: Sequence[dict[str, object]], columns: Sequence[str]) -> pd.DataFrame:
    """A table that has its columns even without rows."""
    return pd.DataFrame(list(rows), columns=list(columns))
