"""The one Python operator of the job: a pandas UDF around ``udfs.ranker``.

Flink hands over Arrow batches of profiles; the operator answers each row with
``ROW<action, value, error>``. Only ``list`` and ``tombstone`` rows may reach the sink: a superseded
or failed row must never become a null value, which Kafka reads as a tombstone.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pandas as pd
from pyflink.table import DataTypes
from pyflink.table.udf import FunctionContext, ScalarFunction, udf

from udfs.ranker import COLUMNS, RankSettings, answer, ranker

if TYPE_CHECKING:
    from pyflink.metrics import MetricGroup

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
        # Without metrics Flink gives no metric group, and asking for it is an error.
        self._metrics = (
            RankMetrics(function_context.get_metric_group(), self._ranker.seq)
            if self._settings.metrics
            else None
        )

    def eval(self, *columns: pd.Series[Any]) -> pd.DataFrame:
        rows = pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))
        before_s = self._ranker.inference_s
        answers = answer(rows, self._ranker.rank, self._settings.emit)
        if self._metrics:
            self._metrics.update(rows, answers.actions, self._ranker.inference_s - before_s)
        return answers.frame()


class RankMetrics:
    """What Flink shows of the operator.

    Attributes:
        lists, superseded, failed: counters of rows by their answer.
        batch_size: rows of a batch.
        inference_ms: time in the engine for a batch.
        freshness_ms: age of the oldest event that got a list in the batch.
        engine_seq: activation counter of the engine.
    """

    def __init__(self, group: MetricGroup, engine_seq: int) -> None:
        self._answers = {name: group.counter(name) for name in ("superseded", "failed")}
        self._answers["list"] = group.counter("lists")
        self._batch_size = group.distribution("batch_size")
        self._inference_ms = group.distribution("inference_ms")
        self._freshness_ms = group.distribution("freshness_ms")
        group.gauge("engine_seq", lambda: engine_seq)

    def update(self, rows: pd.DataFrame, actions: list[str], inference_s: float) -> None:
        for action, counter in self._answers.items():
            counter.inc(actions.count(action))
        self._batch_size.update(len(rows))
        self._inference_ms.update(round(inference_s * 1000))
        fresh = [
            event_time
            for event_time, cause, action in zip(
                rows["event_time"].tolist(), rows["cause"].tolist(), actions, strict=True
            )
            if action == "list" and cause == "event"
        ]
        if fresh:
            self._freshness_ms.update(time.time_ns() // 1_000_000 - min(fresh))


def rank(settings: RankSettings) -> Any:
    """The UDF, ready for ``create_temporary_function``."""
    return udf(Rank(settings), result_type=RESULT_TYPE, func_type="pandas")
