"""Times on the command line."""

from __future__ import annotations

import doctest

import pytest

from pipeline.sources import parse_time, times
from schemas.errors import SettingsError

NOVEMBER_MS = 1_288_569_600_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2010-11-01", NOVEMBER_MS),
        (" 2010-11-01 ", NOVEMBER_MS),
        ("2010-11-01T00:00:00Z", NOVEMBER_MS),
        ("2010-11-01 00:00", NOVEMBER_MS),
        ("2010-11-01T02:00:00+02:00", NOVEMBER_MS),
        ("2010-11-01T00:00:00.123", NOVEMBER_MS + 123),
        ("2010-11-01T00:00:00.123999", NOVEMBER_MS + 123),
        ("1288569600000", NOVEMBER_MS),
        ("1969-12-31T23:59:59.999", -1),
    ],
)
def test_ways_to_write_a_time(text: str, expected: int) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2010-13-01",
        "1288569600",
        "20101101",
        "2010",
        "-5",
        "１２３４５６７８９０１２",
    ],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(SettingsError, match="expected: such as 2010-11-01") as error:
        parse_time(text)
    assert error.value.received == text


def test_the_examples_in_the_docstring() -> None:
    assert doctest.testmod(times).failed == 0
