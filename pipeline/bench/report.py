"""Figures where people look: the histogram of delays, the table of engines."""

from __future__ import annotations

from collections.abc import Sequence
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


def print_engines(rows: Sequence[dict[str, Any]]) -> None:
    """A line for each of the rows of `pipeline.bench.engine.engine`, on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0))
    headings = ("precision", "KB", "shape", "users", "threads", "p50 ms", "p99 ms", "lists/s core")
    table.add_column("engine", overflow="fold", min_width=15)
    for heading in headings:
        table.add_column(heading, no_wrap=True, justify="right")
    for row in rows:
        table.add_row(
            row["engine"],
            row["precision"],
            f"{row['size_bytes'] // 1000:,}",
            f"{row['batch']}",
            f"{row['users_at_once']}",
            f"{row['threads']}",
            f"{row['p50_ms']:.3f}",
            f"{row['p99_ms']:.3f}",
            f"{row['lists_per_s_core']:,}",
        )
    Console().print(table)
