"""Every exception that Headrace raises on purpose.

    HeadraceError
    ├── SettingsError        headrace.toml, an environment variable or a flag is wrong
    ├── SchemaError          a schema is dangerous to decode, or breaks compatibility
    ├── CodecError           bytes that are not a valid record; carries a dead-letter Reason
    ├── SourceError          an event log cannot be read
    ├── EngineError          an engine bundle cannot be used
    │   ├── BundleRefused    ... because it is truncated, tampered with or of the wrong shape
    │   └── GpuMemoryError   ... because the GPU has no room for it
    ├── KafkaError           the broker or a topic is not as it must be
    ├── BrokerError          the local broker cannot be started or stopped
    ├── FlinkError           Java, a jar or the Flink job is not as it must be
    └── RegistryError        the schema registry does not answer, refuses, or lacks a schema

The command line prints each of them as three lines (what was expected, what was received, how to
fix it) and exits with ``exit_code``; a traceback means a bug. A gate that an engine did not pass is
no error: its verdict is printed, and the exit status is ``NOT_PASSED``.
"""

from __future__ import annotations

from schemas.reasons import Reason

NOT_PASSED = 10


class HeadraceError(Exception):
    """An error that a user can act on.

    Args:
        message: one sentence: what could not be done.
        expected: what a good input looks like.
        received: what was there instead. Never holds a secret.
        fix: the likely remedy, a command where there is one.
    """

    exit_code = 1

    def __init__(
        self, message: str, *, expected: str = "", received: str = "", fix: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.received = received
        self.fix = fix

    def __str__(self) -> str:
        parts = [self.message]
        for label in ("expected", "received", "fix"):
            text = getattr(self, label)
            if text:
                parts.append(f"{label}: {text}")
        return "\n  ".join(parts)

    def as_dict(self) -> dict[str, str]:
        """The error as one JSON-ready object, for ``--json``."""
        return {
            "error": type(self).__name__,
            "message": self.message,
            "expected": self.expected,
            "received": self.received,
            "fix": self.fix,
        }


class SettingsError(HeadraceError):
    exit_code = 2


class SchemaError(HeadraceError):
    exit_code = 3


class CodecError(HeadraceError):
    """Bytes that are not a valid record, or a record that cannot become bytes.

    Args:
        reason: for bytes, the reason of the dead letter that they would be.
    """

    exit_code = 3

    def __init__(
        self,
        message: str,
        *,
        reason: Reason | None = None,
        expected: str = "",
        received: str = "",
        fix: str = "",
    ) -> None:
        super().__init__(message, expected=expected, received=received, fix=fix)
        self.reason = reason


class SourceError(HeadraceError):
    exit_code = 4


class EngineError(HeadraceError):
    exit_code = 5


class BundleRefused(EngineError):  # noqa: N818 - a refusal, not a fault of ours
    pass


class GpuMemoryError(EngineError):
    pass


class KafkaError(HeadraceError):
    exit_code = 6


class BrokerError(HeadraceError):
    exit_code = 7


class FlinkError(HeadraceError):
    exit_code = 8


class RegistryError(HeadraceError):
    exit_code = 9
