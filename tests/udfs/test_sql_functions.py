"""The four functions as SQL sees them: names, columns and rows, in Flink's own planner."""

from __future__ import annotations

import hashlib
import json
import random
from base64 import b64encode
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.replay.fold import Fold
from pipeline.replay.judge import Decoded
from pipeline.sections import ProfileSettings
from schemas.codec import encode
from tests.replay.records import (
    DAY_MS,
    DECODED_EVENT,
    HOUR_MS,
    START_MS,
    WIRE_EVENT,
    random_history,
)
from tests.udfs.requests import packed_request
from udfs.request import Action

if TYPE_CHECKING:
    from pyflink.table import TableEnvironment

pytestmark = pytest.mark.real

SETTINGS = ProfileSettings(allowed_lateness_ms=HOUR_MS, expire_after_ms=10 * DAY_MS)
ACTIONS = ("event", "forget", "rerank")

PROFILES = """
SELECT * FROM RollingProfile(
    input => TABLE good PARTITION BY user_id,
    uid => 'rolling-profile')"""

DECODED = """
SELECT `offset`, user_id, action, event_hash_high, event_hash_low, item_hash, event_type,
       event_time, amount, reason, message
FROM DecodeEvent(
    input => TABLE events,
    uid => 'decode')"""

DEAD_LETTER = """
SELECT l.* FROM events, LATERAL TABLE(DeadLetter(topic, `partition`, `offset`, `timestamp`,
    events.record_key, events.record_value, 'decode', 'BAD_ID', 'item_id is empty'
)) AS l"""


@pytest.fixture(scope="module")
def tables(udf_jar: Path) -> TableEnvironment:
    from pyflink.common import Configuration
    from pyflink.table import EnvironmentSettings, TableEnvironment

    options = Configuration()
    options.set_string("pipeline.jars", udf_jar.as_uri())
    options.set_string("pipeline.object-reuse", "true")
    options.set_string("parallelism.default", "1")
    mode = EnvironmentSettings.new_instance().in_streaming_mode()
    tables = TableEnvironment.create(mode.with_configuration(options).build())
    for name in ("DecodeEvent", "DecodeControl", "RollingProfile", "DeadLetter"):
        tables.execute_sql(f"CREATE TEMPORARY FUNCTION {name} AS 'io.headrace.{name}'")
    return tables


def declare(
    tables: TableEnvironment,
    name: str,
    columns: str,
    rows: Iterable[Mapping[str, object]],
    folder: Path,
) -> None:
    """A table of these rows, in their order; ``columns`` as in CREATE TABLE."""
    file = folder / f"{name}.json"
    file.write_text("\n".join(map(json.dumps, rows)))
    tables.execute_sql(
        f"CREATE TEMPORARY TABLE {name} ({columns}) WITH ('connector' = 'filesystem', "
        f"'path' = '{file.as_uri()}', 'format' = 'json', "
        "'json.timestamp-format.standard' = 'ISO-8601')"
    )


def set_parameters(
    tables: TableEnvironment, folder: Path, audit: str = "false", limit_bytes: int = 100_000
) -> None:
    given = {
        "decode.max_value_bytes": 65_536,
        "decode.min_event_time_ms": 946_684_800_000,
        "decode.max_ahead_ms": 300_000,
        "decode.dead_letter_limit_bytes": limit_bytes,
        "profile.allowed_lateness_ms": SETTINGS.allowed_lateness_ms,
        "profile.expire_after_ms": SETTINGS.expire_after_ms,
        "job.epoch": 7,
        "job.quarantine_after": 2,
        "quarantine.folder": folder,
        "audit": audit,
    }
    texts = {f"headrace.{name}": str(value) for name, value in given.items()}
    tables.get_config().set("pipeline.global-job-parameters", json.dumps(texts))


def rows_of(tables: TableEnvironment, query: str) -> list[tuple[Any, ...]]:
    with tables.execute_sql(query).collect() as rows:
        return [tuple(bytes(v) if isinstance(v, bytearray) else v for v in row) for row in rows]


def good_row(record: Decoded, offset: int) -> dict[str, object]:
    high, low = divmod(record.event_hash, 2**64)
    return {
        "user_id": "u1",
        "action": ACTIONS.index(record.action),
        "event_hash_high": signed(high),
        "event_hash_low": signed(low),
        "item_hash": signed(record.item_hash),
        "event_type": record.event_type,
        "event_time": record.event_time,
        "amount": record.amount,
        "source_partition": 3,
        "source_offset": offset,
    }


def signed(number: int) -> int:
    """An unsigned 64-bit number as a BIGINT holds it."""
    return number - 2**64 if number >= 2**63 else number


def expected_rows(records: list[Decoded]) -> list[tuple[Any, ...]]:
    fold = Fold(SETTINGS)
    causes = {"event": 1, "rerank": 2, "forget": 0}
    rows = []
    for offset, record in enumerate(records):
        step = fold.take(record)
        packed = packed_request(
            fold.profile.pack(),
            Action[step.action.upper()],
            causes[record.action],
            partition=3,
            offset=offset,
            event_time=record.event_time,
        )
        epochs = {"user_epoch": str(fold.profile.user_epoch).encode(), "job_epoch": b"7"}
        headers = epochs if step.action == "tombstone" else None
        rows.append(("u1", packed, headers, step.outcome.value, 3, offset))
    return rows


def asks(row: tuple[Any, ...]) -> bool:
    """Whether a row of RollingProfile asks for a list or a tombstone."""
    return bool(row[1][0] != Action.NONE)


@pytest.fixture(scope="module")
def history(tables: TableEnvironment, tmp_path_factory: pytest.TempPathFactory) -> list[Decoded]:
    """The table ``good``: the random records that are returned."""
    records = list(random_history(random.Random(5), 250))
    declare(
        tables,
        "good",
        "user_id STRING, action TINYINT, event_hash_high BIGINT, event_hash_low BIGINT, "
        "item_hash BIGINT, event_type TINYINT, event_time BIGINT, amount FLOAT, "
        "source_partition INT, source_offset BIGINT",
        (good_row(record, offset) for offset, record in enumerate(records)),
        tmp_path_factory.mktemp("good"),
    )
    return records


@pytest.mark.parametrize("backend", ["hashmap", "rocksdb"])
def test_rolling_profile_emits_what_the_fold_says(
    tables: TableEnvironment, history: list[Decoded], backend: str, tmp_path: Path
) -> None:
    """RocksDB keeps what it was given: a profile changed after it was stored would show."""
    tables.get_config().set("state.backend.type", backend)
    set_parameters(tables, tmp_path, audit="true")
    assert rows_of(tables, PROFILES) == expected_rows(history)


def test_without_audit_only_what_is_due_is_emitted(
    tables: TableEnvironment, history: list[Decoded], tmp_path: Path
) -> None:
    set_parameters(tables, tmp_path, audit="false")
    assert rows_of(tables, PROFILES) == [row for row in expected_rows(history) if asks(row)]


def test_a_missing_job_parameter_is_named(tables: TableEnvironment, history: list[Decoded]) -> None:
    tables.get_config().set("pipeline.global-job-parameters", "{}")
    with pytest.raises(Exception, match=r"expected the job parameter headrace\.profile"):
        rows_of(tables, PROFILES)


@pytest.fixture(scope="module")
def events(tables: TableEnvironment, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The table ``events``: a good record, one without value, and one of the 300 bytes returned."""
    long = b"\xc3\x01" + b"?" * 298
    values = (encode("user_event", WIRE_EVENT), None, long)
    declare(
        tables,
        "events",
        "record_key BYTES, record_value BYTES, topic STRING, `partition` INT, `offset` BIGINT, "
        "`timestamp` TIMESTAMP_LTZ(3)",
        (
            {
                "record_key": b64encode(b"u1").decode(),
                "record_value": value and b64encode(value).decode(),
                "topic": "events",
                "partition": 3,
                "offset": offset,
                "timestamp": "2023-11-14T22:13:20Z",  # START_MS
            }
            for offset, value in enumerate(values)
        ),
        tmp_path_factory.mktemp("events"),
    )
    return long


def test_decode_event_gives_numbers_or_a_reason(
    tables: TableEnvironment, events: bytes, tmp_path: Path
) -> None:
    set_parameters(tables, tmp_path)
    good, empty, long = rows_of(tables, DECODED)
    high, low = divmod(DECODED_EVENT.event_hash, 2**64)
    hashes = (signed(high), signed(low), signed(DECODED_EVENT.item_hash))
    numbers = (0, *hashes, 5, START_MS, 4.5)
    assert good == (0, "u1", *numbers, None, None)
    nothing = (None,) * 8
    assert empty == (1, *nothing, "NULL_VALUE", "the record has no value")
    assert long[:-1] == (2, *nothing, "UNKNOWN_SCHEMA")


def test_a_dead_letter_holds_the_record_and_its_story(
    tables: TableEnvironment, events: bytes, tmp_path: Path
) -> None:
    set_parameters(tables, tmp_path, limit_bytes=300)
    *_, (key, value, headers) = rows_of(tables, DEAD_LETTER)
    assert (key, value) == (b"u1", events)
    assert {name: bytes(content).decode() for name, content in headers.items()} == {
        "dlq.topic": "events",
        "dlq.partition": "3",
        "dlq.offset": "2",
        "dlq.timestamp": str(START_MS),
        "dlq.stage": "decode",
        "dlq.reason": "BAD_ID",
        "dlq.message": "item_id is empty",
    }


def test_a_dead_letter_above_the_limit_is_cut(
    tables: TableEnvironment, events: bytes, tmp_path: Path
) -> None:
    set_parameters(tables, tmp_path, limit_bytes=100)
    *_, (key, value, headers) = rows_of(tables, DEAD_LETTER)
    assert (key, value) == (b"u1", events[:100])
    assert bytes(headers["dlq.bytes"]) == b"300"
    assert bytes(headers["dlq.sha256"]).decode() == hashlib.sha256(events).hexdigest()


def test_a_dead_letter_without_value_stays_without(
    tables: TableEnvironment, events: bytes, tmp_path: Path
) -> None:
    set_parameters(tables, tmp_path, limit_bytes=100)
    _, (_, value, headers), _ = rows_of(tables, DEAD_LETTER)
    assert value is None
    assert "dlq.sha256" not in headers
