"""The card of a loss or probability function, read from its docstring: the one place where its facts stand.

A docstring starts with a one-line summary and holds one `.. math::` block. Facts follow as paragraphs that
start at the left margin with one of the words in `SECTIONS` and a colon; they end at a blank line or the next
such word. Formulas inside a fact are written :math:`...`.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from dataclasses import dataclass

SECTIONS = {
    "Range": "range",
    "Gradient": "gradient",
    "At p -> 0": "near_zero",
    "At p -> 1": "near_one",
    "Equals": "equals",
    "Note": "note",
    "Source": "source",
    "Peers": "peers",
}
_SECTION = re.compile(rf"^({'|'.join(SECTIONS)}):\s*(.*)$")
_INLINE_MATH = re.compile(r":math:`([^`]*)`")
_WORDS = {
    "infty": "∞", "cdot": "·", "le": "≤", "ge": "≥", "ne": "≠", "to": "→", "in": "∈", "sum": "Σ", "prod": "Π",
    "partial": "∂", "delta": "δ", "alpha": "α", "beta": "β", "gamma": "γ", "kappa": "κ", "lambda": "λ", "nu": "ν",
    "tau": "τ", "eta": "η", "theta": "θ", "sigma": "σ", "approx": "≈", "pm": "±", "times": "×", "lVert": "‖",
    "rVert": "‖", "mid": "|", "quad": "  ", "notin": "∉", "top": "T",
}  # fmt: skip


@dataclass(frozen=True)
class Card:
    """What a reader wants to know about one loss or probability function before using it."""

    name: str
    summary: str
    formula: str
    range: str = ""
    gradient: str = ""
    near_zero: str = ""
    near_one: str = ""
    equals: str = ""
    note: str = ""
    source: str = ""
    peers: str = ""
    parameters: str = ""
    reconstruction: bool = False

    def text(self, width: int = 100) -> str:
        """Plain text for a terminal, formulas in ordinary characters."""
        title = f"{self.name}: {self.summary}" if self.summary else self.name
        lines = textwrap.wrap(title + self._mark(), width)
        for heading, content in self._rows():
            body = _INLINE_MATH.sub(lambda found: plain_math(found[1]), content)
            if heading == "Formula":
                body = plain_math(body)
            lines += textwrap.wrap(body, width, initial_indent=f"  {heading:<12}", subsequent_indent=" " * 14)
        return "\n".join(lines)

    def _repr_markdown_(self) -> str:
        summary = f": {self.summary}" if self.summary else ""
        formula = ["", f"$$ {self.formula} $$"] if self.formula else []
        lines = [f"**{self.name}**{summary}{self._mark()}", *formula, ""]
        for heading, content in self._rows():
            if heading != "Formula":
                lines.append(f"- *{heading}*: " + _INLINE_MATH.sub(r"$\1$", content))
        return "\n".join(lines)

    def _mark(self) -> str:
        return " [a reconstruction: the source does not give this formula]" if self.reconstruction else ""

    def _rows(self) -> list[tuple[str, str]]:
        rows = [("Formula", self.formula)]
        rows += [(heading, getattr(self, field)) for heading, field in SECTIONS.items()]
        rows.insert(1, ("Parameters", self.parameters))
        return [(heading, content) for heading, content in rows if content]


def read_card(name: str, docstring: str | None, *, parameters: str, reconstruction: bool) -> Card:
    """Read a card from a docstring; what it does not say stays empty."""
    text = inspect.cleandoc(docstring or "")
    formula = re.search(r"^\.\. math::\s*(.*?)(?:\n\s*\n|\Z)", text, re.DOTALL | re.MULTILINE)
    return Card(
        name=name,
        summary=text.partition("\n")[0].rstrip("."),
        formula=" ".join(formula[1].split()) if formula else "",
        parameters=parameters,
        reconstruction=reconstruction,
        **_read_sections(text),
    )


def _read_sections(text: str) -> dict[str, str]:
    facts: dict[str, str] = {}
    field = ""
    for line in text.splitlines():
        start = _SECTION.match(line)
        if start:
            field = SECTIONS[start[1]]
            facts[field] = start[2]
        elif not line.strip():
            field = ""
        elif field:
            facts[field] += " " + line.strip()
    return facts


def plain_math(latex: str) -> str:
    """Rewrite the LaTeX that our docstrings use in ordinary characters.

    >>> plain_math(r"-(1 - p_t)^\\gamma \\log p_t")
    '-(1 - p_t)^γ log p_t'
    """
    text = re.sub(r"\\(?:left|right|big|Big|bigl|bigr|displaystyle)(?![a-zA-Z])", "", latex)
    text = re.sub(r"\\(?:text|operatorname|mathrm|mathbf)\{([^{}]*)\}", r"\1", text)
    before = ""
    while text != before:  # from the inside out
        before = text
        text = re.sub(r"([_^])\{([^{}]*)\}", lambda m: m[1] + (m[2] if len(m[2]) == 1 else f"({m[2]})"), text)
        text = re.sub(r"\\t?frac\{([^{}]*)\}\{([^{}]*)\}", _flatten_fraction, text)
    text = re.sub(r"\\([a-zA-Z]+)", lambda m: _WORDS.get(m[1], m[1]), text)
    text = re.sub(r"\\([{}|])", r"\1", text)
    return " ".join(re.sub(r"\\[,;! ]", " ", text).split())


def _flatten_fraction(found: re.Match[str]) -> str:
    parts = (part if re.fullmatch(r"[^\s+/-]+", part) else f"({part})" for part in found.groups())
    return "/".join(parts)
