"""A table as Markdown, LaTeX (booktabs) and HTML; every text is escaped for its language."""

import html
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xkd.report.layout import Block, Cell
    from xkd.report.tables import Table

MARKS = {True: "✓", False: "✗", None: ""}


def _text(cell: "Cell") -> str:
    return f"{cell.text} {MARKS[cell.reproduced]}".strip()


def to_markdown(table: "Table") -> str:
    """GitHub-flavoured Markdown; the headings of a row stand on its first line only."""
    parts = [f"## {_markdown(table.title)}"]
    parts += [f"> **{_markdown(table.banner)}**"] if table.banner else []
    parts += [_markdown(table.caption)] if table.caption else []
    for block in table.blocks:
        head = [*block.headings, "", *block.columns]
        align = ["---"] * (len(block.headings) + 1) + ["---:"] * len(block.columns)
        lines = [[_markdown(name) for name in head], align]
        for row in block.rows:
            for place, line in enumerate(row.lines):
                heads = row.headings if place == 0 else ("",) * len(row.headings)
                cells = [_markdown(_text(cell)) for cell in line.cells]
                cells = [
                    f"**{text}**" if cell.strong else text
                    for text, cell in zip(cells, line.cells, strict=True)
                ]
                lines.append([*map(_markdown, heads), _markdown(line.label), *cells])
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        parts.append(f"### {_markdown(block.title)}\n\n{body}")
    parts += ["\n".join(f"- {_markdown(note)}" for note in table.notes)]
    return "\n\n".join(parts) + "\n"


def _markdown(text: str) -> str:
    text = re.sub(r"([\\`*_|\[\]<>#~$])", r"\\\1", text)
    return " ".join(text.split())


#: What pdflatex cannot read as it stands.
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "–": "--", "—": "---",
    "−": "$-$", "±": r"$\pm$", "→": r"$\rightarrow$", "×": r"$\times$", "·": r"$\cdot$",
    "≤": r"$\le$", "≥": r"$\ge$", "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$",
    "λ": r"$\lambda$", "ρ": r"$\rho$", "′": r"$'$", "²": r"$^2$", "…": r"\dots{}",
    "✓": r"$\checkmark$", "✗": r"$\times$", "“": "``", "”": "''",
}  # fmt: skip


def to_latex(table: "Table") -> str:
    """A `table` environment; the preamble needs booktabs and amssymb."""
    parts = ["% \\usepackage{booktabs,amssymb}", r"\begin{table}[t]"]
    parts.append(r"\centering\small\setlength{\tabcolsep}{4pt}")
    caption = ". ".join(text.rstrip(".") for text in (table.title, table.caption) if text)
    parts.append(rf"\caption{{{_latex(caption)}.}}")
    parts += [rf"\fbox{{\textbf{{{_latex(table.banner)}}}}}\par\medskip"] if table.banner else []
    parts += [part for block in table.blocks for part in _latex_block(block)]
    notes = [rf"{_latex(note)}\par" for note in table.notes]
    parts += [r"\begin{minipage}{\linewidth}\footnotesize", *notes, r"\end{minipage}"]
    return "\n".join([*parts, r"\end{table}", ""])


def _latex_block(block: "Block") -> list[str]:
    names = [*block.headings, "", *block.columns]
    lines = [
        rf"\textit{{{_latex(block.title)}}}\par\smallskip",
        rf"\begin{{tabular}}{{{'l' * (len(block.headings) + 1)}{'r' * len(block.columns)}}}",
        r"\toprule",
        " & ".join(map(_latex, names)) + r" \\",
    ]
    for place, row in enumerate(block.rows):
        lines.append(r"\addlinespace" if place else r"\midrule")
        for number, line in enumerate(row.lines):
            heads = row.headings if number == 0 else ("",) * len(row.headings)
            cells = [
                rf"\textbf{{{_latex(_text(cell))}}}" if cell.strong else _latex(_text(cell))
                for cell in line.cells
            ]
            lines.append(" & ".join([*map(_latex, (*heads, line.label)), *cells]) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}\par\medskip"]


def _latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))


STYLE = """
body { font: 15px/1.45 "Source Sans 3", "Segoe UI", Helvetica, Arial, sans-serif; color: #1b1b1b;
       max-width: 72rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.3rem; margin: 0 0 .3rem; } h2 { font-size: 1rem; margin: 1.8rem 0 .4rem; }
.banner { background: #fff3d6; border-left: 5px solid #E69F00; padding: .55rem .9rem;
          font-weight: 600; margin: 1rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap;
        border-top: 2px solid #1b1b1b; border-bottom: 2px solid #1b1b1b; }
th, td { padding: .2rem .75rem; text-align: right; font-weight: 400; }
thead th { border-bottom: 1px solid #1b1b1b; font-weight: 600; }
th[scope=rowgroup], th[scope=row], thead th.left { text-align: left; vertical-align: top; }
th[scope=rowgroup] { font-weight: 600; }
tbody + tbody tr:first-child > * { border-top: 1px solid #d8d8d8; }
tr.published, tr.difference { color: #595959; }
.yes { color: #00694d; } .no { color: #a84300; font-weight: 600; }
.notes { font-size: .85rem; color: #444; padding-left: 1.1rem; margin-top: 1.6rem; }
""".strip()


def to_html(table: "Table") -> str:
    """One page that needs nothing else: no script, no outside style or font."""
    title = html.escape(table.title)
    banner = (
        f'<p class="banner" role="note">{html.escape(table.banner)}</p>' if table.banner else ""
    )
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in table.notes)
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
            f"<title>{title}</title><style>{STYLE}</style></head><body>",
            f"<h1>{title}</h1>{banner}<p>{html.escape(table.caption)}</p>",
            *(_html_block(block) for block in table.blocks),
            f'<ul class="notes">{notes}</ul></body></html>\n',
        ]
    )


def _html_block(block: "Block") -> str:
    names = [*block.headings, ""]
    head = "".join(f'<th class="left">{html.escape(name)}</th>' for name in names)
    head += "".join(f'<th scope="col">{html.escape(name)}</th>' for name in block.columns)
    bodies = []
    for row in block.rows:
        lines = []
        for place, line in enumerate(row.lines):
            heads = (
                ""
                if place
                else "".join(
                    f'<th scope="rowgroup" rowspan="{len(row.lines)}">{html.escape(name)}</th>'
                    for name in row.headings
                )
            )
            kind = html.escape(line.label.split()[0])
            cells = "".join(f"<td>{_html_cell(cell)}</td>" for cell in line.cells)
            name = f'<th scope="row">{html.escape(line.label)}</th>'
            lines.append(f'<tr class="{kind}">{heads}{name}{cells}</tr>')
        bodies.append(f"<tbody>{''.join(lines)}</tbody>")
    return (
        f'<h2>{html.escape(block.title)}</h2><div class="scroll"><table>'
        f"<thead><tr>{head}</tr></thead>{''.join(bodies)}</table></div>"
    )


def _html_cell(cell: "Cell") -> str:
    text = html.escape(cell.text)
    text = f"<b>{text}</b>" if cell.strong else text
    if cell.reproduced is None:
        return text
    kind, words = ("yes", "reproduced") if cell.reproduced else ("no", "not reproduced")
    mark = MARKS[cell.reproduced]
    return f'{text} <span class="{kind}" title="{words}" aria-label="{words}">{mark}</span>'
