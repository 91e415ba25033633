"""What a fault did, by the two laws: nothing lost, nothing wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from schemas.reasons import Outcome
from tests.integration.reference import Place, State, conservation_errors

List = tuple[Place, State]


@dataclass(frozen=True)
class Evidence:
    """What must have come out of the job, and what did.

    Attributes:
        outcomes: of every input offset, by the reference.
        states: by the reference, the profile behind the list of every event that asks for one.
        written: audit rows and dead letters as they lie in the topics, repetitions included.
        lists: those that a read_committed consumer sees.
    """

    outcomes: dict[Place, Outcome]
    states: dict[Place, State]
    written: Sequence[tuple[Place, str]]
    lists: Sequence[List]

    def but(self, **changes: object) -> Evidence:
        """Evidence that was tampered with."""
        return replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Row:
    """A fault in the table.

    Attributes:
        fault: what was done.
        fresh_s: seconds from the fault to the first list of an event that was sent after it, or
            the longest time without a list from then on, whichever is more.
        events, lists: records sent; lists that they ask for.
        lists_lost: lists that are nowhere.
        outcomes_wrong: offsets without exactly the outcome of the reference, and lists that were
            made from another profile than the reference's or that nothing asked for.
        lists_doubled: lists written again; at-least-once may.
    """

    fault: str
    fresh_s: float
    events: int
    lists: int
    lists_lost: int
    outcomes_wrong: int
    lists_doubled: int

    @property
    def right(self) -> bool:
        return not self.lists_lost and not self.outcomes_wrong


def judged(fault: str, fresh_s: float, evidence: Evidence) -> Row:
    times = Counter(place for place, _ in evidence.lists)
    wrong_lists = sum(evidence.states.get(place) != state for place, state in evidence.lists)
    wrong_outcomes = conservation_errors(evidence.outcomes, evidence.written)
    return Row(
        fault,
        round(fresh_s, 1),
        len(evidence.outcomes),
        len(evidence.states),
        len(evidence.states.keys() - times.keys()),
        len(wrong_outcomes) + wrong_lists,
        times.total() - len(times),
    )


HEADINGS = ("fault", "s until fresh lists", "lists", "lost", "wrong", "doubled")


def table(rows: Sequence[Row]) -> list[str]:
    """The rows as Markdown."""
    cells = [
        HEADINGS,
        *(
            tuple(map(str, (r.fault, r.fresh_s, r.lists, r.lists_lost, r.outcomes_wrong,
                            r.lists_doubled)))
            for r in rows
        ),
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in cells
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
