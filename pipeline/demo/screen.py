"""What the demo shows while it plays: the pipeline's numbers, and one user's list changing."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.columns import Columns
from rich.console import Group
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.demo.watch import Published, Tally
from pipeline.sources.base import UserEvent

ACTIONS_SHOWN = 5


@dataclass(slots=True)
class Stage:
    """What the screen needs beside the tally.

    Attributes:
        titles: item id → title.
        spotlight: the user to follow.
        seconds: length of the play.
        began, play_started: of the command and of the play, by ``time.monotonic``.
        sent: records sent so far.
        acted: what the spotlit user did lately, newest last.
    """

    titles: Mapping[str, str]
    spotlight: str
    seconds: float
    began: float
    play_started: float = 0.0
    sent: int = 0
    acted: deque[UserEvent] = field(default_factory=lambda: deque(maxlen=ACTIONS_SHOWN))

    def took(self, event: UserEvent | None) -> None:
        """Note that a record was sent; the event that it holds, None if it holds none."""
        self.sent += 1
        if event is not None and event.user_id == self.spotlight:
            self.acted.append(event)

    def elapsed_s(self) -> float:
        return min(time.monotonic() - self.play_started, self.seconds)


def screen(stage: Stage, tally: Tally) -> Group:
    """The whole screen, for ``rich.live.Live``."""
    return Group(
        Columns([numbers(stage, tally), person(stage, tally)], equal=False, expand=False),
        ProgressBar(total=stage.seconds, completed=stage.elapsed_s(), width=100),
    )


def line(stage: Stage, tally: Tally) -> str:
    """The numbers as one line, for an output that is no terminal."""
    p50, p99 = tally.recent_freshness_ms(time.time_ns() // 1_000_000)
    return (
        f"{stage.elapsed_s():5.1f} s  {stage.sent} events  {tally.list_count} lists  "
        f"freshness p50 {p50:.0f} ms p99 {p99:.0f} ms  {len(tally.dead)} dead letters"
    )


def numbers(stage: Stage, tally: Tally) -> Panel:
    elapsed_s = max(stage.elapsed_s(), 0.001)
    p50, p99 = tally.recent_freshness_ms(time.time_ns() // 1_000_000)
    counts = tally.counts()
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(justify="right")
    for name, value in (
        ("events/s", f"{stage.sent / elapsed_s:,.0f}"),
        ("lists/s", f"{tally.list_count / elapsed_s:,.0f}"),
        ("freshness p50", f"{p50:.0f} ms"),
        ("freshness p99", f"{p99:.0f} ms"),
        ("applied", f"{counts['applied']:,}"),
        ("duplicate", f"{counts['duplicate']:,}"),
        ("late", f"{counts['late']:,}"),
        ("forgotten", f"{counts['forgotten']:,}"),
        ("dead letters", f"{counts['dead_lettered']:,}"),
        ("users with a list", f"{len(tally.lists):,}"),
    ):
        table.add_row(name, value)
    return Panel(table, title="pipeline", width=34)


def person(stage: Stage, tally: Tally) -> Panel:
    table = Table.grid(padding=(0, 2))
    table.add_column(width=26)
    table.add_column(width=34)
    published = tally.lists.get(stage.spotlight, [])
    table.add_row(Text("did", style="dim"), Text("should see now", style="dim"))
    table.add_row(actions(stage), ranked(stage, published))
    return Panel(table, title=stage.spotlight, width=68)


def actions(stage: Stage) -> Text:
    text = Text()
    for event in reversed(stage.acted):
        text.append(f"{event.event_type:11}", style="cyan")
        text.append(f"{stage.titles[event.item_id]}\n")
    return text


def ranked(stage: Stage, published: list[Published]) -> Text:
    """The newest list; what was not in the one before stands out."""
    if not published:
        return Text("no list yet", style="dim")
    newest = [item for item, *_ in published[-1].items]
    before = {item for item, *_ in published[-2].items} if len(published) > 1 else set(newest)
    text = Text()
    for place, item in enumerate(newest, start=1):
        style = "" if item in before else "bold green"
        text.append(f"{place:2}. {stage.titles.get(item, item)}\n", style=style)
    return text
