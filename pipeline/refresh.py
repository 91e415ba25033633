"""An engine of the store with another catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.refresh import refreshed
from engines.registry import Registry
from pipeline.items import read_items
from schemas.errors import SourceError

if TYPE_CHECKING:
    from pipeline.config import Settings


def refresh(
    settings: Settings, engine: str, items: Path | None, available: Path | None
) -> dict[str, Any]:
    """Adds a version of an engine with new items, or others that can be listed; see `refreshed`.

    Args:
        settings: where the store is.
        engine: NAME or NAME@VERSION.
        items: file of items, see `pipeline.items`; None: no new ones.
        available: file with the ids of those that can be listed, one a line; None: all.

    Returns:
        ``engine`` (name@version), ``folder``, ``items``, ``new`` and ``available`` ones.

    Raises:
        SourceError: a file cannot be read.
        EngineError: there is no such engine, or it cannot be refreshed.
    """
    registry = Registry(settings.engine.store)
    bundle = registry.open_named(engine)
    known = read_items(items) if items else {}
    listed = _ids(available) if available else None
    made = registry.add(refreshed(bundle, known, listed), bundle.manifest.name)
    return {
        "engine": made.label,
        "folder": str(made.folder),
        "items": len(made.catalogue),
        "new": len(made.catalogue) - len(bundle.catalogue),
        "available": int((made.tables["available"] == 0).sum()),
    }


def _ids(path: Path) -> set[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise SourceError(
            f"{path} cannot be read",
            expected="ids of items, one a line",
            received=str(error),
            fix="write the file again",
        ) from error
    return {line.strip() for line in lines if line.strip()}
