"""`docs/compatibility.md` out of what was observed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "compatibility.md"
BEGIN, END = "<!-- observed: begin -->", "<!-- observed: end -->"

#: By title: the names of the columns, and rows by name.
Tables = Mapping[str, tuple[Sequence[str], Mapping[str, Sequence[str]]]]


def written(tables: Tables) -> str:
    """The tables as Markdown."""
    lines: list[str] = []
    for title, (columns, rows) in tables.items():
        lines += [f"### {title}", "", f"| field | {' | '.join(columns)} |"]
        lines.append("|---" * (len(columns) + 1) + "|")
        lines += [f"| `{name}` | {' | '.join(cells)} |" for name, cells in rows.items()]
        lines.append("")
    return "\n".join(lines)


def in_document() -> str:
    """The tables that the document holds now."""
    _, _, rest = DOCUMENT.read_text("utf-8").partition(f"{BEGIN}\n")
    return rest.partition(END)[0]


def replace(tables: str) -> None:
    """Put new tables in the place of those that the document holds."""
    text = DOCUMENT.read_text("utf-8")
    before, _, rest = text.partition(f"{BEGIN}\n")
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{tables}{END}{after}", "utf-8")
