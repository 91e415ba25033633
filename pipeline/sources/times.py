"""Points in time, as people write them on a command line."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from schemas.errors import SettingsError

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND = timedelta(milliseconds=1)
# Fewer digits are more likely seconds, or a date without its hyphens.
_LEAST_DIGITS = 11


def parse_time(text: str) -> int:
    """Milliseconds since 1970.

    >>> parse_time("2010-11-01")
    1288569600000
    >>> parse_time("2010-11-01T08:30:00+02:00")
    1288593000000
    >>> parse_time("1288569600000")
    1288569600000

    Args:
        text: a date, a date and time (UTC if it names no offset), or the milliseconds themselves.

    Raises:
        SettingsError: it is none of them.
    """
    text = text.strip()
    if len(text) >= _LEAST_DIGITS and text.isascii() and text.isdigit():
        return int(text)
    try:
        if text.isdigit():
            raise ValueError("digits alone are milliseconds since 1970, and these are too few")
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise SettingsError(
            "cannot read the time",
            expected="such as 2010-11-01, 2010-11-01T08:30:00Z or 1288569600000",
            received=text,
            fix=f"write it in one of these ways ({error})",
        ) from error
    return millis(time if time.tzinfo else time.replace(tzinfo=timezone.utc))


def millis(time: datetime) -> int:
    """Whole milliseconds from 1970 to ``time``, which has a time zone."""
    return (time - EPOCH) // _MILLISECOND
