"""docs/benchmarks.md: text that is written by hand, and between two marks each a result that is not.

<!-- result: NAME -->
made from benchmarks/NAME.json beside the page; empty where there is none
<!-- end of result -->
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from rich.table import Table

from benchmarks.charts import Chart
from benchmarks.results import Result

PAGE = "benchmarks.md"
_FOLDER = "benchmarks"
_MARKED = re.compile(r"^(<!-- result: ([\w-]+) -->\n).*?^(<!-- end of result -->)$", re.MULTILINE | re.DOTALL)


def results_folder(docs: Path) -> Path:
    return docs / _FOLDER


def chart_file(result: str, chart: Chart) -> str:
    return f"{result}-{chart.name}.svg"


def rendered(docs: Path) -> str:
    """Return the page in `docs` with what is between its marks made anew from the results kept there."""

    def fill(marked: re.Match[str]) -> str:
        path = results_folder(docs) / f"{marked[2]}.json"
        return marked[1] + ("".join(_shown(path)) if path.exists() else "") + marked[3]

    return _MARKED.sub(fill, (docs / PAGE).read_text())


def marked(page: str) -> list[str]:
    """Return the names of the results that `page` has marks for."""
    return [found[2] for found in _MARKED.finditer(page)]


def _shown(path: Path) -> Iterator[str]:
    """Yield a result as Markdown: its tables and charts, and folded up the details."""
    result = Result.load(path)
    tables, details = tuple(result.report.tables()), tuple(result.report.details())
    yield f"\n`{result.command}` on {result.day}:\n\n"
    for table in tables:
        yield f"{markdown(table)}\n"
    for chart in result.report.charts():
        yield f"![{chart.title}]({_FOLDER}/{chart_file(path.stem, chart)})\n\n"
    yield f"<details><summary>{'All figures, settings' if details else 'Settings'} and versions</summary>\n\n"
    for table in details:
        yield f"{markdown(table)}\n"
    for line in (tables[0].title, *str(tables[0].caption).splitlines()):
        yield f"- {line}\n"
    yield "\n</details>\n\n"


def markdown(table: Table) -> str:
    """Return the columns of a table of rich as a table of Markdown."""
    columns = table.columns
    rule = ("---:" if column.justify == "right" else "---" for column in columns)
    body = zip(*(column.cells for column in columns), strict=True)
    return "".join(f"| {' | '.join(map(str, row))} |\n" for row in ([c.header for c in columns], rule, *body))
