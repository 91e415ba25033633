"""UCI Online Retail II, as Parquet: one row for each line of an invoice.

Read as events so:

* ``purchase``, or ``return`` if the invoice number starts with C or the quantity is negative;
* the item is the stock code in capitals (the log writes 85123a and 85123A for one product);
* the value is the unit price, the session the invoice;
* rows without a customer are left out and counted as ``no_customer``;
* rows whose stock code is no product are left out and counted as ``not_a_product``: products have
  five digits first, or are one of a few series (DCGS.., SP.., PADS); the others are postage (POST,
  DOT, C2), fees, discounts (D), samples, vouchers, tests and entries by hand (M, ADJUST).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.sources.base import OPEN, Item, UserEvent, Window
from pipeline.sources.columns import BATCH_ROWS, is_sorted, open_parquet, rows_of, times_ms
from pipeline.sources.source import FileSource, malformed

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = (
    "Invoice",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "Price",
    "Customer ID",
)
PRODUCT = r"^(\d{5}|DCGS|SP\d|PADS$)"


class _Row(NamedTuple):
    number: int  # in the file, from 0
    invoice: str
    code: str
    title: str
    quantity: int
    time_ms: int
    price: float
    customer: int


class RetailSource(FileSource):
    """Purchases and returns; event ids are ``retail-<invoice>-<row in the file>``."""

    suffix = ".parquet"

    def __init__(self, path: Path | None, window: Window = OPEN) -> None:
        super().__init__(path, window)
        self.total = rows_of(self.files, COLUMNS)

    def in_order(self) -> bool:
        return is_sorted(self.files, "InvoiceDate")

    def read(self, counts: Counter[str]) -> Iterator[UserEvent]:
        for row in self._rows(counts):
            returned = row.quantity < 0 or row.invoice.startswith("C")
            yield UserEvent(
                event_id=f"retail-{row.invoice}-{row.number}",
                user_id=str(row.customer),
                item_id=row.code,
                event_type="return" if returned else "purchase",
                event_time=row.time_ms,
                value=_finite(row.price),
                session_id=row.invoice,
            )

    def items(self) -> Iterator[Item]:
        """Every item once, with its last description and its last price above zero."""
        titles: dict[str, str | None] = {}
        prices: dict[str, float] = {}
        for row in self._rows(Counter()):
            if row.time_ms in self.window:
                titles[row.code] = row.title or titles.get(row.code)
                price = _finite(row.price)
                if price:
                    prices[row.code] = price
        for code, title in titles.items():
            yield Item(code, title=title, price=prices.get(code))

    def _rows(self, counts: Counter[str]) -> Iterator[_Row]:
        for path in self.files:
            with open_parquet(path, COLUMNS) as file:
                start = 0
                for batch in file.iter_batches(BATCH_ROWS, columns=list(COLUMNS)):
                    yield from _kept(batch, start, f"{path}, rows from {start}", counts)
                    start += len(batch)


def _kept(batch: pa.RecordBatch, start: int, place: str, counts: Counter[str]) -> Iterator[_Row]:
    """The rows of ``batch`` that are events; ``start`` is the number of its first one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    codes = pc.utf8_upper(pc.utf8_trim_whitespace(batch["StockCode"]))
    customer = pc.invert(pc.is_null(batch["Customer ID"], nan_is_null=True))
    product = pc.fill_null(pc.match_substring_regex(codes, PRODUCT), False)
    counts["no_customer"] += pc.sum(pc.invert(customer)).as_py() or 0
    counts["not_a_product"] += pc.sum(pc.and_not(customer, product)).as_py() or 0
    keep = pc.and_(customer, product)
    kept = [
        pa.array(range(start, start + len(batch))).filter(keep),
        batch["Invoice"].filter(keep),
        codes.filter(keep),
        pc.utf8_trim_whitespace(pc.fill_null(batch["Description"], "")).filter(keep),
        batch["Quantity"].filter(keep),
        times_ms(batch["InvoiceDate"].filter(keep)),
        pc.fill_null(batch["Price"], math.nan).filter(keep),
        batch["Customer ID"].filter(keep).cast(pa.int64()),
    ]
    if any(column.null_count for column in kept):
        raise malformed(place, f"a value in each of {', '.join(COLUMNS)}", "a row without")
    return map(_Row._make, zip(*(column.to_pylist() for column in kept), strict=True))


def _finite(price: float) -> float | None:
    return price if math.isfinite(price) else None
