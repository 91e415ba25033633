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
def stages(console: Console | None) -> Iterator[Callable[[str, int, int], None]]:
    """One progress bar for work in stages: it is told the stage, how much is done, and of how much.

    A terminal shows one bar at a time.
    """
    with _task(console, "", None) as update:
        yield lambda stage, done, total: update(description=stage, completed=done, total=total)


def fitting(tell: Callable[[str, int, int], None]) -> Callable[[int, int, str], None]:
    """The stage of `stages` in which a model is fitted, as models tell of it."""
    return lambda done, total, note: tell(f"fitting {note}".strip(), done, total)


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
