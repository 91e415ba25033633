"""A gate's result on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from engines import figures

if TYPE_CHECKING:
    from rich.table import Table

LEFT = frozenset({"passed", "gated_at", "report", "seconds"})
"""What `show` leaves to the lines that every command ends with."""


def show(told: Mapping[str, Any]) -> set[str]:
    """Prints the checks, then the figures of both engines side by side, on stdout.

    Returns:
        what parts of the result were shown so.
    """
    from rich.console import Console

    console = Console()
    for text in filter(None, (figures.heading(told), figures.warning(told))):
        console.print(text, soft_wrap=True, highlight=False, markup=False)
    console.print(_table(figures.CHECK_HEADINGS, figures.check_rows(told)))
    console.print(_table(figures.FIGURE_HEADINGS, figures.figure_rows(told)))
    return set(told) - LEFT


def _table(headings: Iterable[str], rows: Iterable[figures.Row]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE)
    for heading in headings:
        table.add_column(Text(heading), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
