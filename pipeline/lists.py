"""Shows a list to a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from engines.registry import Registry
from schemas.errors import EngineError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pipeline.config import Settings
    from pipeline.consume import Published


def printer(settings: Settings, *, quiet: bool = False) -> Callable[[Published], None]:
    """A function that prints a list on stdout, or does nothing if ``quiet``."""
    if quiet:
        return lambda published: None
    from rich.console import Console

    console, known = Console(), titles(settings)
    return lambda published: console.print(rendered(published, known))


def titles(settings: Settings) -> dict[str, str]:
    """Titles by item id, from the active engine's catalogue; empty if no engine is active here."""
    try:
        catalogue = Registry(settings.engine.store).open_active()[0].catalogue
    except EngineError:
        return {}
    pairs = zip(catalogue.item_ids, catalogue.titles, strict=True)
    return {item_id: title for item_id, title in pairs if title}


def rendered(published: Published, titles: Mapping[str, str]) -> RenderableType:
    """A table of the list, with below it what made it."""
    from rich.table import Table
    from rich.text import Text

    if published.list is None:
        return Text(f"{published.user_id}: forgotten (user epoch {published.order[1]})")
    table = Table(title=Text(published.user_id), caption=Text(provenance(published.list)))
    for heading in ("#", "item", "title", "score", "reason"):
        table.add_column(heading, justify="right" if heading in "#score" else "left")
    for place, item in enumerate(published.list["items"], start=1):
        title = titles.get(item["item_id"], "")
        cells = (str(place), item["item_id"], title, f"{item['score']:.4g}", item["reason"])
        table.add_row(*map(Text, cells))
    return table


def provenance(record: Mapping[str, Any]) -> str:
    """Which engine, event and profile made a list, in one line."""
    made = datetime.fromtimestamp(record["generated_at"] / 1000, timezone.utc)
    level = f" · degraded to level {record['degrade_level']}" if record["degrade_level"] else ""
    return (
        f"{record['engine']} (activation {record['engine_seq']}){level} · "
        f"{record['version']} events, digest {record['events_digest'][:4].hex()} · "
        f"caused by {record['cause']} {record['source_partition']}:{record['source_offset']} · "
        f"{made:%Y-%m-%d %H:%M:%S} UTC"
    )
