"""What is known of items beside a log: a table of attributes, and vectors of any encoder.

    items.parquet, .csv, .jsonl   a row an item: item_id, and any of title, category, price,
                                  provider and vector (a list of numbers)
    items.json                    {"item id": {"title": ...}} or {"item id": ["attribute", ...]}

Several categories of one item are separated by "|".
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.catalogue import ATTRIBUTES
from schemas.errors import SourceError

if TYPE_CHECKING:
    import pyarrow as pa

FIELDS = (*ATTRIBUTES, "vector")
TEXTS = ("title", "category", "provider")


def read_items(path: Path) -> dict[str, dict[str, Any]]:
    """Attributes by item id.

    Raises:
        SourceError: there is no such file, or it is none of the above.
    """
    try:
        found = _from_json(path) if path.suffix == ".json" else _from_rows(path)
    except (OSError, ValueError, TypeError) as error:  # pyarrow's errors are ValueErrors
        raise SourceError(
            f"the items in {path} cannot be read",
            expected="a .parquet, .csv or .jsonl file with a column item_id, or a .json object",
            received=str(error).splitlines()[0],
            fix="see `pipeline/items.py` for the columns",
        ) from error
    return found


def _from_json(path: Path) -> dict[str, dict[str, Any]]:
    given = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(given, dict):
        raise TypeError(f"JSON that is no object but {type(given).__name__}")
    return {
        item_id: _known(
            {"category": "|".join(map(str, known))} if isinstance(known, list) else known
        )
        for item_id, known in given.items()
    }


def _from_rows(path: Path) -> dict[str, dict[str, Any]]:
    table = _table(path)
    if "item_id" not in table.column_names:
        raise ValueError(f"columns {', '.join(table.column_names)}")
    rows: Iterable[dict[str, Any]] = table.to_pylist()
    return {str(row["item_id"]): _known(row) for row in rows if row["item_id"] is not None}


def _table(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        from pyarrow import parquet

        return parquet.read_table(path)
    if path.suffix == ".csv":
        from pyarrow import csv

        return csv.read_csv(path)
    if path.suffix == ".jsonl":
        from pyarrow import json as lines

        return lines.read_json(path)
    raise ValueError(f"a file that ends in {path.suffix!r}")


def _known(row: dict[str, Any]) -> dict[str, Any]:
    """The fields that we know; a catalogue holds texts, and a price as a float."""
    known = {name: row[name] for name in FIELDS if row.get(name) not in (None, "")}
    known |= {name: str(known[name]) for name in TEXTS if name in known}
    if "price" in known:
        known["price"] = float(known["price"])
    return known
