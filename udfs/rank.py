"""The one Python operator of the job: a pandas UDF around ``udfs.ranker``.

Flink hands over Arrow batches of profiles; the operator answers each row with
``ROW<action, value, error>``. Only ``list`` and ``tombstone`` rows may reach the sink: a superseded
or failed row must never become a null value, which Kafka reads as a tombstone.
"""

from __future__ import annotations

import time
from typing import Any

import pandas as pd
from pyflink.table import DataTypes
from pyflink.table.udf import FunctionContext, ScalarFunction, udf

from udfs.ranker import COLUMNS, RankSettings, answer, ranker

RESULT_TYPE = DataTypes.ROW(
    [
        DataTypes.FIELD("action", DataTypes.STRING()),
        DataTypes.FIELD("value", DataTypes.BYTES()),
        DataTypes.FIELD("error", DataTypes.STRING()),
    ]
)


class Rank(ScalarFunction):  # type: ignore[misc]
    """Ranks Arrow batches with the active engine."""

    def __init__(self, settings: RankSettings) -> None:
        self._settings = settings

    def open(self, function_context: FunctionContext) -> None:
        self._ranker = ranker(self._settings)
        group = function_context.get_metric_group()
        self._lists = group.counter("lists")
        self._superseded = group.counter("superseded")
        self._failed = group.counter("failed")
        self._batch_size = group.distribution("batch_size")
        self._inference_ms = group.distribution("inference_ms")
        self._freshness_ms = group.distribution("freshness_ms")
        group.gauge("engine_seq", lambda: self._ranker.seq)

    def eval(self, *columns: pd.Series[Any]) -> pd.DataFrame:
        rows = pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))
        started = time.perf_counter()
        answers = answer(rows, self._ranker.rank, self._settings.emit)
        self._measure(rows, answers.actions, time.perf_counter() - started)
        return answers.frame()

    def _measure(self, rows: pd.DataFrame, actions: list[str], seconds: float) -> None:
        self._lists.inc(actions.count("list"))
        self._superseded.inc(actions.count("superseded"))
        self._failed.inc(actions.count("failed"))
        self._batch_size.update(len(rows))
        self._inference_ms.update(round(seconds * 1000))
        self._freshness_ms.update(time.time_ns() // 1_000_000 - int(rows["event_time"].iloc[-1]))


def rank(settings: RankSettings) -> Any:
    """The UDF, ready for ``create_temporary_function``."""
    return udf(Rank(settings), result_type=RESULT_TYPE, func_type="pandas")
