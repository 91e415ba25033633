"""Errors of Flink's JVM, and its death, in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.config import Settings
from schemas.errors import FlinkError


def jvm_gone() -> tuple[type[Exception], ...]:
    """What a call into a JVM that is gone raises."""
    from py4j.protocol import Py4JNetworkError

    return Py4JNetworkError, ConnectionError


@contextmanager
def jvm_errors(settings: Settings) -> Iterator[None]:
    """Errors of the JVM, and its death, become FlinkError."""
    from py4j.protocol import Py4JJavaError
    from pyflink.util.exceptions import JavaException

    logs = f"see the logs in {settings.run_dir / 'flink'}"
    try:
        yield
    except (Py4JJavaError, JavaException) as error:  # PyFlink turns some into exceptions of its own
        raise FlinkError(
            "Flink refused the job",
            expected="a job that Flink can plan and run",
            received=innermost_cause(str(error)),
            fix=logs,
        ) from error
    except jvm_gone() as error:
        raise FlinkError(
            "Flink's JVM is gone",
            expected="a JVM that lives as long as the job",
            received="no answer from it",
            fix=f"{logs}; was it killed for its memory?",
        ) from error


def innermost_cause(trace: str) -> str:
    """The last "Caused by" of a Java stack trace, or its first line."""
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return [*lines[:1], *causes][-1][:500] if lines else ""
