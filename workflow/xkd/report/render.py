"""Templates filled in: a table as Markdown, LaTeX (booktabs) and HTML, each text escaped for it.

The templates lie beside this file; they receive a `tables.Table`, whose shape alone they know.
"""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).with_name("templates")

#: What pdflatex cannot read as it stands.
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "–": "--", "—": "---",
    "−": "$-$", "±": r"$\pm$", "→": r"$\rightarrow$", "×": r"$\times$", "·": r"$\cdot$",
    "≤": r"$\le$", "≥": r"$\ge$", "≠": r"$\ne$", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "λ": r"$\lambda$", "ρ": r"$\rho$",
    "τ": r"$\tau$", "′": r"$'$", "²": r"$^2$", "…": r"\dots{}",
    "✓": r"$\checkmark$", "✗": r"$\times$", "“": "``", "”": "''",
}  # fmt: skip


#: Delimiters of LaTeX's templates, which are full of braces.
_ANGLES = {
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
}


def latex(text: Any) -> str:
    """Text for LaTeX on one line."""
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(str(text).split()))


def markdown(text: Any) -> str:
    """Text for GitHub-flavoured Markdown on one line."""
    return " ".join(re.sub(r"([\\`*_|\[\]<>#~$])", r"\\\1", str(text)).split())


def to_markdown(table: Any) -> str:
    """GitHub-flavoured Markdown; the headings of a row stand on its first line only."""
    return _template("table.md.j2", markdown).render(table=table)


def to_latex(table: Any) -> str:
    """A `table` environment; the preamble needs booktabs and amssymb."""
    return _template("table.tex.j2", latex).render(table=table)


def to_html(table: Any) -> str:
    """One page that needs nothing else: no script, no outside style or font."""
    return _template("table.html.j2", None).render(table=table)


def to_page(**content: Any) -> str:
    """The result page; see `page.write`."""
    return _template("page.html.j2", None).render(**content)


@cache
def _template(name: str, finalize: Callable[[Any], str] | None) -> Any:
    """A template whose every expression is escaped: by `finalize`, or for HTML if that is None."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=finalize is None,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **(_ANGLES if finalize is latex else {}),
    )
    return environment.get_template(name)
