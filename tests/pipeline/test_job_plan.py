"""The job is the picture: one statement set, one hash exchange, one Python operator."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from pipeline.config import Settings, load_settings
from pipeline.flink import create_table, literal
from pipeline.job import sink_options, source_options
from pipeline.plan import numbered_from_1, plan_file

NODE = re.compile(r"^[ :|+-]*([A-Z]\w+)\((.*)", re.MULTILINE)
DETAIL = {
    "ProcessTableFunction": r"invocation=\[(\w+)\(",
    "Exchange": r"distribution=\[(\w+)",
    "Sink": r"table=\[\w+\.\w+\.(\w+)\]",
    "TableSourceScan": r"table=\[\[\w+, \w+, (\w+),",
    "Correlate": r"invocation=\[(\w+)\(",
}
PICTURE = Counter(
    {
        "TableSourceScan events": 1,
        "TableSourceScan control": 1,
        "ProcessTableFunction DecodeEvent": 1,
        "ProcessTableFunction DecodeControl": 1,
        "Exchange hash": 1,
        "ProcessTableFunction RollingProfile": 1,
        "PythonCalc": 1,
        "Correlate DeadLetter": 1,
        "Sink recommendations": 1,
        "Sink dead_letters": 1,
    }
)
UNCOUNTED = {"Calc", "Union", "Reused"}
"""Work inside the JVM without an exchange, and nodes that stand for one counted elsewhere."""


def operators(plan: str) -> Counter[str]:
    """How often each operator, with what tells two of a kind apart, is in the execution plan."""
    execution = plan.partition("== Optimized Execution Plan ==")[2]
    return Counter(
        " ".join([kind, *re.findall(DETAIL.get(kind, "$^"), rest)])
        for kind, rest in NODE.findall(execution)
        if kind not in UNCOUNTED
    )


TOLD = """
import json, sys
from pipeline import flink, plan
from pipeline.config import load_settings

def walk(transformation, found):
    if transformation.getUid():
        found[transformation.getUid()] = transformation.getName()
    for before in transformation.getInputs():
        walk(before, found)
    return found

def told(audit):
    flags = {"kafka.audit_topic": "audit" if audit else "", "run_dir": sys.argv[1]}
    settings = load_settings(flags=flags, environ={})
    tables = flink.table_environment(settings, flink.mini_cluster(0))
    loaded = plan.load(tables, settings, plan.ANY_ENGINE)
    planner = tables._j_tenv.getPlanner()
    ends = planner.translatePlan(loaded._j_compiled_plan.unwrap())
    uids = {}
    for end in ends:
        walk(end, uids)
    return {"explained": loaded.explain(), "compiled": plan.compiled(audit=audit), "uids": uids}

print(json.dumps([told(False), told(True)]))
"""


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Without and with an audit topic; from one process, as each starts a JVM."""
    folder = tmp_path_factory.mktemp("plan")
    command = [sys.executable, "-c", TOLD, str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.real
@pytest.mark.parametrize(("audit", "more"), [(False, {}), (True, {"Sink audit": 1})])
def test_the_plan_is_the_picture(
    plans: list[dict[str, Any]], audit: bool, more: dict[str, int]
) -> None:
    assert operators(plans[audit]["explained"]) == PICTURE + Counter(more)


@pytest.mark.real
@pytest.mark.parametrize("audit", [False, True])
def test_the_plan_kept_is_the_plan_of_the_sql(plans: list[dict[str, Any]], audit: bool) -> None:
    """If this fails because the SQL has changed: python -m pipeline.plan, and see the next test."""
    assert json.loads(plan_file(audit=audit).read_text()) == plans[audit]["compiled"]


UIDS = {
    # Reading positions of the two input topics.
    "1_source": "events[1]",
    "5_source": "control[5]",
    # The profiles: named by us in the SQL.
    "rolling-profile": "ProcessTableFunction[11]",
    "decode-events": "ProcessTableFunction[3]",
    "decode-control": "ProcessTableFunction[7]",
    # Open transactions of the sinks.
    "14_sink": "recommendations[14]",
    "20_sink": "dead_letters[20]",
    # Without state, but Flink tells a savepoint's operators by these as well.
    **{f"{at}_calc": f"Calc[{at}]" for at in (2, 4, 6, 8, 13, 15, 16, 19)},
    "10_exchange": "Exchange[10]",
    "12_python-calc": "PythonCalc[12]",
    "18_correlate": "Correlate[18]",
}
"""What a savepoint calls the operators. A change here makes every savepoint taken so far useless:
Flink refuses to restore it, and state is never skipped silently."""


@pytest.mark.real
def test_operators_keep_their_names_in_savepoints(plans: list[dict[str, Any]]) -> None:
    assert plans[False]["uids"] == UIDS
    # With an audit topic nothing is called otherwise, so that it can be added to a running job.
    more = {"21_calc": "Calc[21]", "22_sink": "audit[22]"}
    assert plans[True]["uids"] == UIDS | more


def test_negative_control_numbering_starts_at_1_wherever_flink_stood() -> None:
    node, edge = {"id": 21}, {"source": 21, "target": 22}
    moved = numbered_from_1({"nodes": [node, {"id": 22}], "edges": [edge]})
    assert moved == {"nodes": [{"id": 1}, {"id": 2}], "edges": [{"source": 1, "target": 2}]}


TWICE = """
== Optimized Execution Plan ==
Sink(table=[default_catalog.default_database.recommendations], fields=[a])
+- PythonCalc(select=[a, Rank_(b) AS f0])
   +- Exchange(distribution=[hash[user_id]])
      +- Union(all=[true], union=[a])
         :- PythonCalc(select=[a, Rank_(b) AS f0])
         :  +- ProcessTableFunction(invocation=[DecodeEvent(TABLE(#0), 1:BIGINT)], uid=[decode])
         +- Exchange(distribution=[hash[item]])
            +- ProcessTableFunction(invocation=[DecodeEvent(TABLE(#0), 1:BIGINT)], uid=[decode])
"""


def test_negative_control_two_of_a_kind_are_counted_as_two() -> None:
    assert operators(TWICE) == {
        "Sink recommendations": 1,
        "PythonCalc": 2,
        "Exchange hash": 2,
        "ProcessTableFunction DecodeEvent": 2,
    }
    assert not operators(TWICE.replace("Execution", "Physical"))  # only what is executed counts


def settings(**flags: object) -> Settings:
    return load_settings(
        flags={name.replace("__", "."): value for name, value in flags.items()}, environ={}
    )


def test_delivery_is_at_least_once_without_transactions() -> None:
    options = sink_options(settings(), "recommendations", bounded=False)
    assert options["sink.delivery-guarantee"] == "at-least-once"
    assert options["properties.acks"] == "all"
    assert not [name for name in options if "transaction" in name]


def test_a_list_waits_for_others_in_a_backfill_only() -> None:
    waits = [sink_options(settings(), "recommendations", bounded) for bounded in (False, True)]
    assert [options["properties.linger.ms"] for options in waits] == [0, 40]


def test_exactly_once_has_a_prefix_for_each_sink_and_the_timeout_as_set() -> None:
    chosen = settings(
        job__name="shop", job__delivery="exactly-once", job__transaction_timeout_ms=800_000
    )
    lists, dead = (
        sink_options(chosen, topic, bounded=False) for topic in ("recommendations", "events.dlq")
    )
    assert lists["sink.delivery-guarantee"] == "exactly-once"
    assert lists["properties.transaction.timeout.ms"] == 800_000
    assert lists["sink.transactional-id-prefix"] == "shop-recommendations"
    assert dead["sink.transactional-id-prefix"] != lists["sink.transactional-id-prefix"]


@pytest.mark.parametrize(("bounded", "mode"), [(True, "latest-offset"), (False, "unbounded")])
def test_sources_start_at_the_beginning_and_end_only_if_bounded(bounded: bool, mode: str) -> None:
    options = source_options(settings(kafka__bootstrap_servers="k:1"), "events", bounded)
    assert options["scan.startup.mode"] == "earliest-offset"
    assert options["scan.bounded.mode"] == mode
    assert (options["topic"], options["properties.bootstrap.servers"]) == ("events", "k:1")


@pytest.mark.parametrize(
    ("value", "sql"),
    [
        ("it's", "'it''s'"),
        ("') --", "''') --'"),
        ("", "''"),
        (True, "TRUE"),
        (False, "FALSE"),
        (-5, "-5"),
    ],
)
def test_values_as_sql(value: object, sql: str) -> None:
    assert literal(value) == sql


def test_a_quote_in_an_option_stays_inside_it() -> None:
    sql = create_table("t", "a BYTES", {"topic": "a', 'connector' = 'print", "n": 2})
    assert "'topic' = 'a'', ''connector'' = ''print'" in sql
    assert "'n' = '2'" in sql
