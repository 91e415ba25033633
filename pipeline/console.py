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
    with _task(console, label, total, completed) as update:
        yield lambda done: update(completed=done)


@contextmanager
def fitting_bar(console: Console | None) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar that hears how much is done, of how much at most, and how it stands."""
    with _task(console, "fitting", None) as update:
        yield lambda done, total, note: update(
            completed=done, total=total, description=f"fitting {note}".strip()
        )


@contextmanager
def _task(
    console: Console | None, label: str, total: int | None, completed: int = 0
) -> Iterator[Callable[..., None]]:
    """Shows one bar; the function that it gives takes what `rich.progress.Progress.update` does."""
    if console is None or not console.is_terminal:
        yield lambda **changes: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    description = TextColumn("{task.description}")
    columns = description, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(label, total=total, completed=completed)
        yield lambda **changes: progress.update(task, **changes)


def shown(items: Iterable[Item], advance: Callable[[int], None], before: int = 0) -> Iterator[Item]:
    """The items; the bar is told now and then how many there were, with those before them."""
    for number, item in enumerate(items, before):
        if number % SHOW_EVERY == 0:
            advance(number)
        yield item
