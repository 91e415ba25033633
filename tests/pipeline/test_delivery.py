from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.delivery import Ledger, Progress, Span, Standing


class Refused:
    def str(self) -> str:
        return "Broker: Message size too large"


def sent(ledger: Ledger, sizes: list[int]) -> list[Span]:
    """Sends spans of these sizes; the span of each record, in order."""
    records = []
    for size in sizes:
        records += [ledger.enter() for _ in range(size)]
        ledger.close_span()
    return records


@given(sizes=st.lists(st.integers(0, 5), max_size=6), data=st.data())
def test_delivered_is_never_ahead_of_the_first_gap_and_ends_at_the_end(
    sizes: list[int], data: st.DataObject
) -> None:
    ledger = Ledger(100)
    records = sent(ledger, sizes)
    confirmed: set[int] = set()
    for number in data.draw(st.permutations(range(len(records)))):
        records[number](None, None)
        confirmed.add(number)
        ledger.close_span()
        without_gap = next(n for n in range(len(records) + 1) if n not in confirmed)
        assert ledger.delivered <= 100 + without_gap
    assert ledger.delivered == ledger.sent == 100 + sum(sizes)


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6), data=st.data())
def test_a_refused_record_is_a_gap_for_ever(sizes: list[int], data: st.DataObject) -> None:
    ledger = Ledger(0)
    records = sent(ledger, sizes)
    refused = data.draw(st.integers(0, len(records) - 1))
    for number, span in enumerate(records):
        span(Refused() if number == refused else None, None)
    ledger.close_span()
    assert ledger.delivered <= refused
    assert ledger.failures == {"Broker: Message size too large": 1}


def test_progress_is_of_one_log_and_one_topic(tmp_path: Path) -> None:
    one = Progress.of(tmp_path / "produce", {"log": "a", "topic": "t"})
    other = Progress.of(tmp_path / "produce", {"log": "a", "topic": "u"})
    assert one.read() is None
    one.write(Standing(12, reach=20, since_ms=1_600_000_000_000))
    assert one.read() == Standing(12, reach=20, since_ms=1_600_000_000_000)
    one.write(Standing(15, finished=True))
    assert (one.read(), other.read()) == (Standing(15, finished=True), None)
    assert json.loads(one.file.read_text())["identity"] == {"log": "a", "topic": "t"}
    assert list(one.file.parent.iterdir()) == [one.file]
