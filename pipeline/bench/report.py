"""Figures where people look: the histogram of delays, the table of engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 50


def print_histogram(buckets: Sequence[dict[str, int | None]], console: Console) -> None:
    """A line for each bucket of `pipeline.bench.figures.histogram`, the longest bar 50 wide."""
    most = max((bucket["lists"] or 0 for bucket in buckets), default=1)
    for bucket in buckets:
        lists = bucket["lists"] or 0
        bound = f"< {bucket['below_ms']:,} ms" if bucket["below_ms"] else "more"
        bar = "█" * max(1, round(lists / most * WIDTH))
        console.print(f"{bound:>12} {lists:>9,} {bar}", soft_wrap=True, highlight=False)


COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "engine": ("engine", str),
    "precision": ("precision", str),
    "items": ("items", "{:,}".format),
    "size_bytes": ("KB", lambda size_bytes: f"{size_bytes // 1000:,}"),
    "batch": ("shape", str),
    "users_at_once": ("users", str),
    "threads": ("threads", str),
    "runtime": ("runtime", str),
    "p50_ms": ("p50 ms", "{:.3f}".format),
    "p99_ms": ("p99 ms", "{:.3f}".format),
    "lists_per_s_core": ("lists/s\ncore", "{:,}".format),
    "equal_lists": ("equal\nlists", "{:.2%}".format),
    "widest_gap": ("widest\ngap", "{:.1e}".format),
    "roofline_ms": ("roofline\nms", "{:g}".format),
    "roofline_share": ("reached", "{:.0%}".format),
}
"""Of the table of engines: heading, and how a value is written."""
ALWAYS = ("engine", "p50_ms", "p99_ms", "lists_per_s_core")
LEAST_WIDTH = 110
"""Of the table: in a narrower terminal its lines are broken, but never a figure."""


def print_engines(rows: Sequence[dict[str, Any]]) -> None:
    """A line for each of the rows of `pipeline.bench.engine.engine`, on stdout.

    What is the same in all rows stands above the table instead; why figures are missing, below.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.width = max(console.width, LEAST_WIDTH)
    known = [name for name in COLUMNS if any(row[name] is not None for row in rows)]
    common = [name for name in known if name not in ALWAYS and len({r[name] for r in rows}) == 1]
    columns = [name for name in known if name not in common]
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in columns:
        words = name in ("engine", "runtime")
        table.add_column(COLUMNS[name][0], no_wrap=True, justify="left" if words else "right")
    for row in rows:
        table.add_row(*(_written(row, name) for name in columns))
    said = ", ".join(f"{COLUMNS[name][0]} {_written(rows[0], name)}" for name in common)
    console.print(said, highlight=False)
    console.print(table)
    for reason in dict.fromkeys(
        f"{row['runtime']}: {row['missing']}" for row in rows if row["missing"]
    ):
        console.print(f"missing {reason}", highlight=False, markup=False)


def _written(row: dict[str, Any], name: str) -> str:
    if row["missing"] and name == "p50_ms":
        return "missing"
    value = row[name]
    return "" if value is None else COLUMNS[name][1](value)
