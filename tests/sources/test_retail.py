"""UCI Online Retail."""

from __future__ import annotations

import math
from array import array
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.sources import Item, Source, UserEvent, open_source, parse_time
from schemas.errors import SourceError
from tests.shared_data import shared_data

ROW = {
    "Invoice": "489434",
    "StockCode": "85048",
    "Description": " GLASS BALL ",
    "Quantity": 12,
    "InvoiceDate": "2009-12-01 07:45:00",
    "Price": 6.95,
    "Customer ID": 13085.0,
    "Country": "United Kingdom",
}


def retail(folder: Path, *changes: dict[str, Any], **window: int) -> Source:
    table = pa.Table.from_pylist([ROW | change for change in changes] or [ROW])
    pq.write_table(table if changes else table.slice(0, 0), folder / "log.parquet")
    return open_source("retail", folder / "log.parquet", **window)


def test_a_row_is_a_purchase(tmp_path: Path) -> None:
    source = retail(tmp_path, {})
    assert list(source) == [
        UserEvent(
            "retail-489434-0",
            "13085",
            "85048",
            "purchase",
            parse_time("2009-12-01T07:45"),
            value=6.95,
            session_id="489434",
        )
    ]
    assert source.total == 1
    assert list(source.items()) == [Item("85048", title="GLASS BALL", price=6.95)]


@pytest.mark.parametrize("change", [{"Invoice": "C489449"}, {"Quantity": -1}])
def test_cancelled_invoices_and_negative_quantities_are_returns(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    assert [event.event_type for event in retail(tmp_path, {}, change)] == ["purchase", "return"]


def test_rows_without_a_customer_are_left_out_and_counted(tmp_path: Path) -> None:
    source = retail(tmp_path, {"Customer ID": None}, {}, {"Customer ID": math.nan})
    assert [event.event_id for event in source] == ["retail-489434-1"]
    assert source.counts == {"no_customer": 2, "not_a_product": 0}


@pytest.mark.parametrize(
    "code",
    [
        "POST",
        "M",
        "m",
        "D",
        "DOT",
        "C2",
        "ADJUST2",
        "AMAZONFEE",
        "TEST001",
        "gift_0001_30",
        "BANK_CHARGES",
        "1234",
        "NOTPADS",
    ],
)
def test_rows_that_are_no_product_are_left_out_and_counted(tmp_path: Path, code: str) -> None:
    source = retail(tmp_path, {"StockCode": code}, {})
    assert len(list(source)) == 1
    assert source.counts["not_a_product"] == 1


@pytest.mark.parametrize(
    ("code", "item"),
    [
        ("79323P", "79323P"),
        ("85123a", "85123A"),
        (" 10002 ", "10002"),
        ("DCGS0058", "DCGS0058"),
        ("PADS", "PADS"),
        ("SP1002", "SP1002"),
    ],
)
def test_product_codes(tmp_path: Path, code: str, item: str) -> None:
    assert [event.item_id for event in retail(tmp_path, {"StockCode": code})] == [item]


@pytest.mark.parametrize("price", [math.nan, math.inf, None])
def test_a_price_that_is_no_number_is_no_value(tmp_path: Path, price: float | None) -> None:
    source = retail(tmp_path, {"Price": price}, {"StockCode": "10001"})
    assert [event.value for event in source] == [None, 6.95]
    assert [item.price for item in source.items()] == [None, 6.95]


def test_an_item_has_its_last_title_and_its_last_price_above_zero(tmp_path: Path) -> None:
    source = retail(
        tmp_path,
        {"Description": "OLD", "Price": 1.0},
        {"Description": "NEW", "Price": 2.0},
        {"Description": None, "Price": 0.0},
    )
    assert list(source.items()) == [Item("85048", title="NEW", price=2.0)]


def test_items_after_the_window_are_not_known_yet(tmp_path: Path) -> None:
    later = {"StockCode": "10001", "InvoiceDate": "2010-01-01 00:00:00"}
    source = retail(tmp_path, {}, later, until_ms=parse_time("2010-01-01"))
    assert [item.item_id for item in source.items()] == ["85048"]
    assert len(list(source)) == 1


def test_rows_out_of_order_are_sorted(tmp_path: Path) -> None:
    source = retail(tmp_path, {}, {"InvoiceDate": "2009-12-01 07:44:59"})
    assert not source.in_order()
    assert [event.event_id for event in source] == ["retail-489434-1", "retail-489434-0"]


def test_an_empty_log(tmp_path: Path) -> None:
    source = retail(tmp_path)
    assert not list(source)
    assert not list(source.items())
    assert source.total == 0


@pytest.mark.parametrize(
    ("change", "received"),
    [
        ({"InvoiceDate": "yesterday"}, "yesterday"),
        ({"InvoiceDate": None}, "a row without"),
        ({"Customer ID": 1.5}, "1.5"),
        ({"Quantity": None}, "a row without"),
    ],
)
def test_values_that_cannot_be_read(tmp_path: Path, change: dict[str, Any], received: str) -> None:
    with pytest.raises(SourceError, match=r"log\.parquet") as error:
        list(retail(tmp_path, {}, change))
    assert received in error.value.received


def test_wrong_columns_are_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"Invoice": ["1"], "StockCode": ["2"]}), tmp_path / "log.parquet")
    with pytest.raises(SourceError, match="lacks columns") as error:
        open_source("retail", tmp_path / "log.parquet")
    assert "Customer ID" in error.value.fix
    assert error.value.received == "Invoice, StockCode"


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "log.parquet").write_text("Invoice,StockCode")
    with pytest.raises(SourceError, match="cannot read"):
        open_source("retail", tmp_path / "log.parquet")


def test_the_real_log() -> None:
    source = open_source("retail", shared_data("uci_online_retail_2010.parquet"))
    assert source.in_order()
    times, ids, types = array("q"), set(), set()
    for event in source:
        times.append(event.event_time)
        ids.add(event.event_id)
        types.add(event.event_type)
    assert source.total == 525_461 == len(times) + sum(source.counts.values())
    assert source.counts == {"no_customer": 107_927, "not_a_product": 1_800}
    assert len(ids) == len(times)
    assert all(a <= b for a, b in pairwise(times))
    assert types == {"purchase", "return"}


def test_items_of_the_real_log() -> None:
    until_ms = parse_time("2010-11-01")
    source = open_source("retail", shared_data("uci_online_retail_2010.parquet"), until_ms=until_ms)
    items = {item.item_id: item for item in source.items()}
    assert len(items) == 3_955
    assert items["85123A"].title == "WHITE HANGING HEART T-LIGHT HOLDER"
    assert sum(item.title is None for item in items.values()) == 0
