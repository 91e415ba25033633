"""A gate's result as rows of text, for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

SIDES = "candidate", "active"
CHECK_HEADINGS = "bound", "found", "allowed", "outcome"
FIGURE_HEADINGS = "figure", *SIDES, "difference"

Row = tuple[str, ...]


def heading(told: Mapping[str, Any]) -> str:
    """Which engines were compared, and on whom.

    Args:
        told: what `pipeline.gate.gate` returns, here as everywhere below.
    """
    candidate, active = (told[side]["engine"] for side in SIDES)
    begin = datetime.fromtimestamp((told["from_ms"] or 0) / 1000, timezone.utc)
    asked = {
        "time": f"what they did first after {_utc(begin)}",
        "leave-one-out": "their newest event",
    }[told["split"]]
    return (
        f"{candidate} against {active}, by {told['users']} users of {told['log']}; "
        f"to be found: {asked}; lists of {told['k']}"
    )


def verdict(told: Mapping[str, Any]) -> str:
    """The outcome, with the checks that failed, and when it was found."""
    failed = [f"gate.{check['name']}" for check in told["checks"] if not check["passed"]]
    passed = f"Passed: all {len(told['checks'])} checks"
    words = f"Not passed: {', '.join(failed)}" if failed else passed
    return f"{words}. {_utc(datetime.fromisoformat(told['gated_at']))}"


def warning(told: Mapping[str, Any]) -> str:
    """What to know before the figures are read; empty if nothing."""
    if not told["seen_in_training"]:
        return ""
    return (
        "An engine may have learnt what was to be found: NDCG and HR compare the two, but are not "
        "their accuracy."
    )


def check_rows(told: Mapping[str, Any]) -> Iterator[Row]:
    """Setting, what was found, what is allowed, and the outcome of every check."""
    for check in told["checks"]:
        side = "at least" if check["name"].startswith("min_") else "at most"
        allowed = f"{side} {check['bound']:.4g}"
        outcome = "passed" if check["passed"] else "failed"
        yield f"gate.{check['name']}", f"{check['value']:.4g}", allowed, outcome


def figure_rows(told: Mapping[str, Any]) -> Iterator[Row]:
    """Every figure by its name, of both engines and their difference."""
    k = told["k"]
    for name, key in ((f"NDCG@{k}", "ndcg"), (f"HR@{k}", "hit_rate")):
        yield from _with_interval(name, [told[key][side] for side in (*SIDES, "difference")])
    yield from _with_interval(f"overlap@{k}", [told["overlap"]])
    yield from _with_interval("RBO", [told["rank_biased_overlap"]])
    for name, key in (("coverage", "coverage"), ("exposure Gini", "gini")):
        yield _pair(name, told[key], ".4f")
    yield "provider shift", "", "", f"{told['providers']['shift']:.4f}"
    yield "popularity shift", "", "", f"{told['popularity']['shift']:.4f}"
    for quantile in ("p50", "p99"):
        took_ms = {side: told["latency"][side][f"{quantile}_ms"] for side in SIDES}
        yield _pair(f"full batch {quantile}, ms", took_ms, ".3f")
    yield _pair("users of a batch", {side: told[side]["batch"] for side in SIDES}, "d")


def _pair(name: str, sides: Mapping[str, Any], form: str) -> Row:
    candidate, active = (sides[side] for side in SIDES)
    return name, f"{candidate:{form}}", f"{active:{form}}", f"{candidate - active:+{form}}"


def _with_interval(name: str, found: Sequence[Mapping[str, float]]) -> Iterator[Row]:
    """Means and, below them, their intervals; what is about both engines stands to the right."""
    before = [""] * (3 - len(found))
    yield name, *before, *(f"{figure['mean']:.4f}" for figure in found)
    spans = (f"{figure['low']:.4f} to {figure['high']:.4f}" for figure in found)
    yield "  in 95 %", *before, *spans


def _utc(time: datetime) -> str:
    """Such as "2010-11-01 00:00 UTC"."""
    return f"{time.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
