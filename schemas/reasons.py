"""The two closed vocabularies of a record's fate: its outcome, and the reason of a dead letter.

``udfs/java/.../Reason.java`` and ``Outcome.java`` hold the same names; a test compares them.
"""

from __future__ import annotations

from enum import Enum


class Reason(str, Enum):
    """Why a record is a dead letter; in the order in which the checks run."""

    QUARANTINED = "QUARANTINED"
    NULL_VALUE = "NULL_VALUE"
    OVERSIZE = "OVERSIZE"
    INVALID_MAGIC_BYTE = "INVALID_MAGIC_BYTE"
    UNKNOWN_SCHEMA = "UNKNOWN_SCHEMA"
    INCOMPATIBLE_SCHEMA = "INCOMPATIBLE_SCHEMA"
    AVRO_DECODE_FAILED = "AVRO_DECODE_FAILED"
    TRAILING_BYTES = "TRAILING_BYTES"
    NOT_CANONICAL = "NOT_CANONICAL"
    MISSING_KEY = "MISSING_KEY"
    KEY_MISMATCH = "KEY_MISMATCH"
    ID_TOO_LONG = "ID_TOO_LONG"
    BAD_ID = "BAD_ID"
    TIMESTAMP_OUT_OF_RANGE = "TIMESTAMP_OUT_OF_RANGE"
    NON_FINITE = "NON_FINITE"
    UNKNOWN_ACTION = "UNKNOWN_ACTION"


class Outcome(str, Enum):
    """What became of one input record; every record has exactly one."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    LATE = "late"
    FORGOTTEN = "forgotten"
    CONTROL = "control"
    DEAD_LETTERED = "dead_lettered"
