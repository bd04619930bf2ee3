"""A table as LaTeX with booktabs, safe in any text encoding."""

from __future__ import annotations

import pandas as pd

# What TeX reads as a command, and what its fonts may lack.
SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "%": r"\%",
    "_": r"\_",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "−": "$-$",
    "–": "--",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "≠": r"$\neq$",
    "·": r"$\cdot$",
    "√": r"$\surd$",
    "°": r"$^\circ$",
    "’": "'",
    "“": "``",
    "”": "''",
    "…": r"\ldots{}",
    "é": r"\'e",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
    "✓": r"$\checkmark$",
    "✗": r"$\times$",
}
GREEK = {"α": "alpha", "β": "beta", "γ": "gamma", "κ": "kappa", "λ": "lambda", "ν": "nu", "σ": "sigma", "τ": "tau"}
SPECIAL |= {letter: rf"$\{name}$" for letter, name in GREEK.items()}


def escape(text: object) -> str:
    """Text as TeX prints it; a character that has no TeX form here becomes `?`.

    >>> escape("focal γ=0.5, 95 %")
    'focal $\\\\gamma$=0.5, 95 \\\\%'
    """
    return "".join(SPECIAL.get(letter, letter if letter.isascii() else "?") for letter in str(text))


def latex(table: pd.DataFrame, title: str, label: str, words: set[str]) -> str:
    """A `table` environment that needs the packages booktabs and amssymb.

    Args:
        table: cells as they are printed.
        words: the columns that hold text, set at the left; the others at the right.
    """
    places = "".join("l" if name in words else "r" for name in table.columns)
    heads = " & ".join(map(escape, table.columns))
    rows = [" & ".join(map(escape, row)) + r" \\" for row in table.astype(str).to_numpy().tolist()]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs,amssymb}",
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escape(title)}.}}",
            rf"  \label{{tab:{label}}}",
            rf"  \begin{{tabular}}{{{places}}}",
            r"    \toprule",
            rf"    {heads} \\",
            r"    \midrule",
            *(f"    {row}" for row in rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )
