"""What every command shows while it works: one bar with the time left, on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

SHOW_EVERY = 1000
Item = TypeVar("Item")


@contextmanager
def bar(
    console: Console | None, label: str, total: int | None, completed: int = 0
) -> Iterator[Callable[[int], None]]:
    """A progress bar; the function that it gives is told how much is done altogether.

    Args:
        console: None, or one that is no terminal, shows nothing.
        label: what is being done.
        total: how much there is to do; None if nobody knows.
        completed: how much was done before.
    """
    if console is None or not console.is_terminal:
        yield lambda done: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(label, total=total, completed=completed)
        yield lambda done: progress.update(task, completed=done)


def shown(items: Iterable[Item], advance: Callable[[int], None], before: int = 0) -> Iterator[Item]:
    """The items; the bar is told now and then how many there were, with those before them."""
    for number, item in enumerate(items, before):
        if number % SHOW_EVERY == 0:
            advance(number)
        yield item
