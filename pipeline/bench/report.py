"""The histogram of delays, where people look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
