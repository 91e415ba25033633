"""Which of several JobManagers is asked, and whether through a proxy of the environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.error import HTTPError

import pytest

from deploy.local.cluster_rest import NO_ANSWER
from pipeline.rest import FlinkRest
from tests.pipeline.jobmanager import JobManager, jobmanager, set_proxy

REMOTE = "http://flink.invalid:8081"


@pytest.fixture
def first() -> Iterator[JobManager]:
    with jobmanager() as answers:
        answers.answers = {"/overview": "first", "/jobs/a/stop": {}}
        yield answers


@pytest.fixture
def second() -> Iterator[JobManager]:
    with jobmanager() as answers:
        answers.answers = {"/overview": "second", "/jobs/a/stop": {}}
        yield answers


def test_the_first_that_answers_is_asked(first: JobManager, second: JobManager) -> None:
    rest = FlinkRest(first.url, second.url)
    assert rest.get("/overview") == "first"
    assert (rest.url, second.asked) == (first.url, [])


def test_after_one_is_lost_the_other_is_asked_and_given_the_orders(
    first: JobManager, second: JobManager, free_ports: Callable[[int], list[int]]
) -> None:
    [gone] = free_ports(1)
    rest = FlinkRest(f"http://127.0.0.1:{gone}", second.url)
    assert rest.get("/overview") == "second"
    rest.post("/jobs/a/stop", {})
    rest.cancel("a")
    assert [method for method, _, _ in second.asked] == ["GET", "POST", "PATCH"]


def test_one_without_a_leader_is_passed_over(first: JobManager, second: JobManager) -> None:
    first.answers["/overview"] = 503
    rest = FlinkRest(first.url, second.url)
    assert rest.get("/overview") == "second"
    rest.get("/overview")
    assert len(first.asked) == 1  # the one that answered is asked first from then on


def test_a_refusal_is_an_answer(first: JobManager, second: JobManager) -> None:
    with pytest.raises(HTTPError, match="404"):
        FlinkRest(first.url, second.url).get("/jobs/unknown")
    assert second.asked == []


def test_none_answers(first: JobManager, free_ports: Callable[[int], list[int]]) -> None:
    first.answers["/overview"] = 503
    [gone] = free_ports(1)
    with pytest.raises(ConnectionError) as error:
        FlinkRest(first.url, f"http://127.0.0.1:{gone}").get("/overview")
    assert f"{first.url}: HTTP Error 503" in str(error.value)
    assert f"127.0.0.1:{gone}: <urlopen error" in str(error.value)


def test_an_order_is_given_once(second: JobManager, free_ports: Callable[[int], list[int]]) -> None:
    """A JobManager that is silent may have heard it all the same."""
    [gone] = free_ports(1)
    with pytest.raises(OSError, match="refused"):
        FlinkRest(f"http://127.0.0.1:{gone}", second.url).post("/jobs/a/stop", {})
    assert second.asked == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_is_asked_without_the_proxy(
    first: JobManager, second: JobManager, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    set_proxy(monkeypatch, second.url)
    rest = FlinkRest(first.url.replace("127.0.0.1", host))
    assert rest.get("/overview") == "first"
    rest.cancel("a")
    rest.post("/jobs/a/stop", {})
    assert second.asked == []


def test_a_remote_jobmanager_is_asked_through_the_proxy(
    second: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    second.answers = {f"{REMOTE}/overview": "through the proxy", f"{REMOTE}/jobs/a/stop": {}}
    rest = FlinkRest(REMOTE)
    set_proxy(monkeypatch, second.url)
    assert rest.get("/overview") == "through the proxy"
    rest.post("/jobs/a/stop", {})
    rest.cancel("a")
    assert len(second.asked) == 3
    set_proxy(monkeypatch, "")
    with pytest.raises(NO_ANSWER):
        rest.get("/overview")
