"""The benchmark measures what it says: known times give known figures."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import Counter
from io import StringIO
from pathlib import Path

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from rich.console import Console

from pipeline import kafka
from pipeline.bench import figures, load, measure, soak
from pipeline.bench.report import print_histogram
from pipeline.bench.throughput import job_result, throughput
from pipeline.config import Settings, load_settings, with_values
from pipeline.topics import ensure_topics
from schemas import codec
from schemas.errors import FlinkError, KafkaError


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(flags={"run_dir": tmp_path}, environ={})


def test_the_rate_is_that_of_the_middle_whatever_start_and_end_were() -> None:
    steady = list(range(50_000, 50_900))  # one a millisecond
    slow_start, slow_end = range(0, 50_000, 1000), range(60_000, 110_000, 1000)
    assert figures.middle_rate([*slow_start, *steady, *slow_end]) == 1000
    assert figures.middle_rate(steady[::2]) == 500  # negative control: half the lists


def test_percentiles_are_whole_milliseconds() -> None:
    found = figures.percentiles(list(range(101)))
    assert found == {"p50_ms": 50, "p90_ms": 90, "p99_ms": 99, "max_ms": 100}


def test_every_delay_is_in_one_bucket_of_the_histogram() -> None:
    delays = [0, 4, 5, 49, 50, 50, 10_000]
    buckets = figures.histogram(delays)
    assert sum(bucket["lists"] or 0 for bucket in buckets) == len(delays)
    assert buckets == [
        {"below_ms": 5, "lists": 2},
        {"below_ms": 10, "lists": 1},
        {"below_ms": 50, "lists": 1},
        {"below_ms": 60, "lists": 2},
        {"below_ms": None, "lists": 1},
    ]


def test_the_longest_bar_is_the_fullest_bucket() -> None:
    output = StringIO()
    buckets: list[dict[str, int | None]] = [
        {"below_ms": 10, "lists": 1000},
        {"below_ms": None, "lists": 500},
    ]
    print_histogram(buckets, Console(file=output, width=200))
    first, second = output.getvalue().splitlines()
    assert first.split() == ["<", "10", "ms", "1,000", "█" * 50]
    assert second.split() == ["more", "500", "█" * 25]


@pytest.mark.parametrize(("late", "growing"), [(10, False), (2000, True)])
def test_early_and_late_are_compared_after_the_start_has_settled(late: int, growing: bool) -> None:
    lag = soak.compared([90_000, 90_000, 10, 10, 10, 10, *[late] * 4])
    assert lag == {"early": 10, "late": late, "max": late}
    memory = {"early": 1000.0, "late": 1050.0, "max": 1100.0}
    assert soak.is_growing(lag, memory, rate=1000) is growing
    assert soak.is_growing({**lag, "late": 10}, {**memory, "late": 1150.0}, rate=1000)


def test_every_event_of_the_load_asks_for_a_list_and_has_an_id_of_its_own() -> None:
    events = list(load.shop_events(2000, 0, 1))
    assert len({event.event_id for event in events}) == len(events) == 2000
    assert "impression" not in {event.event_type for event in events}


def test_users_act_alike_or_by_zipfs_law() -> None:
    def busiest(skew: float) -> int:
        users = Counter(event.user_id for event in load.shop_events(2000, 0, 1, skew=skew))
        return users.most_common(1)[0][1]

    assert busiest(0.0) < 5
    assert busiest(1.0) > 100


def test_an_event_bears_the_time_at_which_it_is_due() -> None:
    events = load.shop_events(4, 1_000_000, 2.5)
    assert [event.event_time for event in events] == [1_000_000, 1_000_002, 1_000_005, 1_000_008]


def test_plays_follow_on_one_another_and_each_has_its_own_events(settings: Settings) -> None:
    parts = [(3, load.AT_ONCE), (5, 2.0), (4, 1000.0)]
    burst, slow, fast = load.plays_after_one_another(settings, parts, Console(quiet=True))
    assert burst.begin_ms < slow.begin_ms == math.ceil(burst.end_ms)
    assert fast.begin_ms == slow.end_ms == slow.begin_ms + 2500
    values = [value for play in (burst, slow, fast) for _, value in play.records]
    events = [codec.decode("user_event", value) for value in values]
    assert len({event["event_id"] for event in events}) == len(events) == 12
    begin = burst.begin_ms
    times = [event["event_time"] - begin for event in events]
    assert times[:3] == [0, 0, 0]
    assert times[3:8] == [1, 501, 1001, 1501, 2001]
    assert times[8:] == [2501, 2502, 2503, 2504]


@pytest.mark.real
@pytest.mark.parametrize("largest", [1_000_000, 150])
def test_a_play_sends_every_event_or_says_so(broker_settings: Settings, largest: int) -> None:
    topic = f"play.{largest}"
    settings = with_values(broker_settings, {"kafka.events_topic": topic})
    ensure_topics(settings)
    with kafka.reaching(settings.kafka) as admin:
        limit = ConfigEntry(
            "max.message.bytes", str(largest), incremental_operation=AlterConfigOpType.SET
        )
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[limit])
        admin.incremental_alter_configs([resource])[resource].result()
    [play] = load.plays_after_one_another(settings, [(200, 2000.0)], Console(quiet=True))
    if largest < 1000:
        with pytest.raises(KafkaError, match="did not take every event"):
            play.send(load.new_producer(settings))
        return
    assert play.send(load.new_producer(settings)) >= 0
    sent = kafka.read_to_end(settings, topic)
    assert Counter((message.key(), message.value()) for message in sent) == Counter(play.records)


def test_a_delay_runs_from_when_an_event_is_due_to_the_reading_of_its_list(
    settings: Settings,
) -> None:
    reader = measure.Reader(settings)
    reader._read = [(1_000, a_list(990)), (1_500, a_list(1_450)), (1_700, a_list(1_600))]
    assert reader.delays_ms(since_ms=1_450) == [50, 100]
    assert reader.delays_ms(since_ms=0, before_ms=1_450) == [10]
    assert reader.delays_ms(since_ms=1_450, late_ms=40) == [10, 60]


def test_the_last_line_of_the_job_is_its_result(settings: Settings) -> None:
    log = settings.run_dir / "job.log"
    log.write_text('job runs\n{"job_id": "1", "state": "FINISHED"}\n')
    assert job_result(settings)["state"] == "FINISHED"
    log.write_text("error: the job failed\n")
    with pytest.raises(FlinkError, match="the job failed"):
        job_result(settings)


def test_memory_is_that_of_a_process_and_those_below_it() -> None:
    below = "import sys; big = bytearray(80_000_000); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", below]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        marks = measure.high_marks_kb(os.getpid())
        alone = measure.high_marks_kb(child.pid)
        child.communicate()
    assert marks[os.getpid()][0] == "command"
    assert marks[child.pid][0] == "python"
    assert marks[child.pid][1] * 1024 > 80_000_000
    assert set(alone) == {child.pid}


@pytest.mark.real
def test_a_small_run_counts_every_list(settings: Settings) -> None:
    told = throughput(settings, 3000, Console(quiet=True), repeats=1)
    assert told["lists_per_s"] == told["events_per_s"] > 0
    assert told["runs"][0]["restarts"] == 0
    assert told["peak_rss_mb"]["jvm"] > told["peak_rss_mb"]["python"] > 100


def a_list(event_time: int) -> bytes:
    fixed = {"engine_digest": 32, "runtime": 8, "events_digest": 16, "profile_hash": 16}
    numbers = ("engine_seq", "job_epoch", "degrade_level", "user_epoch", "version")
    places = ("source_partition", "source_offset", "generated_at")
    record = {name: bytes(width) for name, width in fixed.items()}
    texts = {"engine": "shop@1", "user_id": "user-1", "cause": "event"}
    rest = dict.fromkeys((*numbers, *places), 1) | {"event_time": event_time, "items": []}
    return codec.encode("recommendation_list", record | texts | rest)
