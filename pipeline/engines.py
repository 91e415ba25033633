"""The engines of the store, as their manifests describe them; no file is verified."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engines.manifest import MANIFEST, parse_manifest
from engines.registry import Registry
from schemas.errors import BundleRefused

if TYPE_CHECKING:
    from pipeline.config import Settings

UNREADABLE = "not readable"


def engines(settings: Settings) -> list[dict[str, Any]]:
    """``name``, ``version``, ``active``, ``model``, ``precision``, ``batch``, ``k``, ``items``,
    ``size_bytes`` of all files, ``plans`` and ``parent`` of each, by name and version.

    Of one whose manifest cannot be read, ``model`` says so and the rest is left out.
    """
    registry = Registry(settings.engine.store)
    return [
        {"name": one.name, "version": one.version, "active": one.active}
        | _described(registry, one.name, one.version)
        for one in registry.list()
    ]


def _described(registry: Registry, name: str, version: str) -> dict[str, Any]:
    try:
        manifest = parse_manifest((registry.store / name / version / MANIFEST).read_bytes())
    except (BundleRefused, OSError):
        return {"model": UNREADABLE}
    return {
        "model": manifest.model,
        "precision": manifest.precision,
        "batch": manifest.batch,
        "k": manifest.k,
        "items": manifest.catalogue_size,
        "size_bytes": manifest.size_bytes,
        "plans": len(manifest.plans),
        "parent": manifest.parent,
    }


def print_engines(rows: Sequence[dict[str, Any]]) -> None:
    """A line for each of the rows of `engines`, on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("engine", "", "model", "precision", "made of"):
        table.add_column(heading, no_wrap=True)
    for heading in ("items", "KB"):
        table.add_column(heading, no_wrap=True, justify="right")
    for row in rows:
        table.add_row(
            f"{row['name']}@{row['version']}",
            "active" if row["active"] else "",
            row["model"],
            row.get("precision", ""),
            row.get("parent") or "",
            f"{row['items']:,}" if "items" in row else "",
            f"{row['size_bytes'] // 1000:,}" if "size_bytes" in row else "",
        )
    Console().print(table)
