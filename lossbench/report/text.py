"""The sentences of the page: macros in `text.html`, filled with numbers from Python."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from lossbench.claims.wording import number


def source(name: str) -> str:
    """A file beside this one."""
    return (resources.files("lossbench.report") / name).read_text(encoding="utf-8")


@cache
def environment() -> Any:
    """Where templates find each other and the filters that write numbers."""
    made = Environment(
        loader=FunctionLoader(source), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=StrictUndefined, extensions=["jinja2.ext.do"],
    )  # fmt: skip
    made.filters |= {
        "points": lambda value: number(100 * value, 2, sign=True),
        "percent": lambda value, digits=1: number(100 * value, digits),
        "number": number,
        "capitalize_first": lambda text: text[:1].upper() + text[1:],
        "listed": listed,
        "span": span,
    }
    return made


def say(name: str, /, **facts: Any) -> str:
    """The text of a macro of `text.html`, as plain text."""
    macro = getattr(environment().get_template("text.html").module, name)
    return " ".join(Markup(macro(**facts)).unescape().split())


def listed(parts: list[Any]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    texts = [str(part) for part in parts]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}" if texts else ""


def span(values: Any) -> str:
    """A whole number, or the range of several: `3 to 5`."""
    low, high = int(min(values)), int(max(values))
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
