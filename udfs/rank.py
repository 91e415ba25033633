"""The one Python operator of the job: a pandas UDF around ``udfs.ranker``.

Flink hands over Arrow batches of requests; the operator answers each with ``ROW<action, value>``.
Only lists and tombstones may reach the sink: a superseded or failed row must never become a null
value, which Kafka reads as a tombstone.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyflink.table import DataTypes
from pyflink.table.udf import FunctionContext, ScalarFunction, udf

from udfs.beam import without_sampling
from udfs.flight_recorder import FlightRecorder
from udfs.lifeline import end_with_the_jvm
from udfs.live_engine import LiveEngine
from udfs.ranker import RankSettings, answer_recorded, live_engine
from udfs.request import EVENT, Action, Requests

if TYPE_CHECKING:
    from pyflink.metrics import MetricGroup

RESULT_TYPE = DataTypes.ROW(
    [
        DataTypes.FIELD("action", DataTypes.TINYINT()),
        DataTypes.FIELD("value", DataTypes.BYTES()),
    ]
)


class Rank(ScalarFunction):  # type: ignore[misc]
    """Ranks Arrow batches with the active engine."""

    def __init__(self, settings: RankSettings) -> None:
        self._settings = settings

    def open(self, function_context: FunctionContext) -> None:
        end_with_the_jvm()
        without_sampling()
        self._engine = live_engine(self._settings)
        self._recorder = FlightRecorder(self._settings.suspects)
        # Without metrics Flink gives no metric group, and asking for it is an error.
        self._metrics = (
            RankMetrics(function_context.get_metric_group(), self._engine)
            if self._settings.metrics
            else None
        )

    def eval(self, user_id: pd.Series[Any], request: pd.Series[Any]) -> pd.DataFrame:
        requests = Requests.unpack(request.tolist())
        before_s = self._engine.inference_s
        answers = answer_recorded(
            self._recorder,
            user_id.tolist(),
            requests,
            self._engine.rank,
            self._settings.emit,
        )
        if self._metrics:
            self._metrics.update(requests, answers.actions, self._engine.inference_s - before_s)
        frame: pd.DataFrame = pd.DataFrame({"action": answers.actions, "value": answers.values})
        return frame

    def close(self) -> None:
        self._recorder.close()


class RankMetrics:
    """What Flink shows of the operator.

    Attributes:
        lists, superseded, failed: counters of requests by their answer.
        batch_size: requests of a batch.
        inference_ms: time in the engine for a batch.
        freshness_ms: age of the oldest event that got a list in the batch.
        engine_seq: activation counter of the engine that ranks.
        engines_refused: how many were not taken, or fallen back from.
    """

    def __init__(self, group: MetricGroup, engine: LiveEngine) -> None:
        self._answers = {
            Action.LIST: group.counter("lists"),
            Action.SUPERSEDED: group.counter("superseded"),
            Action.FAILED: group.counter("failed"),
        }
        self._batch_size = group.distribution("batch_size")
        self._inference_ms = group.distribution("inference_ms")
        self._freshness_ms = group.distribution("freshness_ms")
        group.gauge("engine_seq", lambda: engine.engine.active.engine_seq)
        group.gauge("engines_refused", lambda: engine.refused)

    def update(self, requests: Requests, actions: NDArray[np.uint8], inference_s: float) -> None:
        for action, counter in self._answers.items():
            counter.inc(int(np.count_nonzero(actions == action)))
        self._batch_size.update(len(requests))
        self._inference_ms.update(round(inference_s * 1000))
        heads = requests.heads
        fresh = heads["event_time"][(actions == Action.LIST) & (heads["cause"] == EVENT)]
        if len(fresh):
            self._freshness_ms.update(time.time_ns() // 1_000_000 - int(fresh.min()))


def rank(settings: RankSettings) -> Any:
    """The UDF, ready for ``create_temporary_function``."""
    return udf(Rank(settings), result_type=RESULT_TYPE, func_type="pandas")
