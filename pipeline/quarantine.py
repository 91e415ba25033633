"""Records at which the job failed again and again: which they are, and how one is let go.

`udfs.flight_recorder` finds them. From the next restart on they are dead letters with the reason
QUARANTINED, and nothing else of the job ever sees them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline.config import Settings
from schemas.errors import FlinkError
from udfs.flight_recorder import strikes_folder


def suspects_folder(settings: Settings) -> Path:
    """Where all tasks of the job keep count of failures.

    One for each topic of events: without it, partition and offset mean nothing.
    """
    state = urlsplit(settings.job.state_dir)
    root = settings.run_dir.resolve()
    if settings.job.quarantine_dir:
        root = Path(settings.job.quarantine_dir)
    elif state.scheme == "file":
        root = Path(unquote(state.path))
    return root / "suspects" / settings.kafka.events_topic


def quarantine(settings: Settings) -> dict[str, Any]:
    """What is quarantined, and how often the job failed at it.

    Returns:
        ``{"quarantined": [{"record", "where", "failures", "last_at"}], "folder"}``.
    """
    folder = suspects_folder(settings)
    return {"quarantined": _quarantined(settings), "folder": str(folder)}


def release(settings: Settings, record: str) -> dict[str, Any]:
    """Let a record go; it is decoded again when the job reads it again after its next start.

    Args:
        record: ``STAGE:PARTITION:OFFSET`` as `quarantine` names it.

    Raises:
        FlinkError: it is not quarantined.
    """
    known = [one["record"] for one in _quarantined(settings)]
    if record not in known:
        raise FlinkError(
            "this record is not quarantined",
            expected=", ".join(sorted(set(known))) or "a record that is; there is none",
            received=record,
            fix="headrace quarantine",
        )
    for file in strikes_folder(suspects_folder(settings)).glob(f"*-{record.replace(':', '-')}.*"):
        file.unlink(missing_ok=True)
    return {"released": record}


def _quarantined(settings: Settings) -> list[dict[str, Any]]:
    found = []
    for file in sorted(strikes_folder(suspects_folder(settings)).glob("*.jsonl")):
        strikes = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        if len(strikes) >= settings.job.quarantine_after:
            last = strikes[-1]
            found.append(
                {
                    "record": f"{last['stage']}:{last['partition']}:{last['offset']}",
                    "where": last["where"],
                    "failures": len(strikes),
                    "last_at": last["at"],
                }
            )
    return found
