"""The compiled plan: what Flink runs, fixed for a release.

    SQL of pipeline.job ── python -m pipeline.plan ──▶ plans/job.json ──▶ every run and submit

Flink names the state of an operator after its place in the plan, and the planner may number
operators otherwise tomorrow. So the plan is compiled once, kept beside the code and loaded by
every job: a savepoint finds its operators again, and a start spares the planning. It refers to
tables and functions by name, and no setting stands in it. A test compiles the SQL again and
compares, another pins the operators' ids.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from engines.active import Active
from pipeline import flink, job
from pipeline.config import Settings, load_settings
from schemas.errors import FlinkError

if TYPE_CHECKING:
    from pyflink.table import CompiledPlan, TableEnvironment

PLANS = Path(__file__).parent / "plans"
ANY_ENGINE = Active(
    name="any", version="any", manifest_sha256="0" * 64, engine_seq=1, activated_at=""
)
"""For the plan, which is the same whatever the engine."""


def plan_file(*, audit: bool) -> Path:
    """Where the plan is kept; with an audit topic the job has one sink more."""
    return PLANS / ("job-audit.json" if audit else "job.json")


def load(
    tables: TableEnvironment, settings: Settings, engine: Active, *, bounded: bool = False
) -> CompiledPlan:
    """Declare tables and functions, and load the plan over them; arguments as `job.declare`.

    Raises:
        FlinkError: the plan is not there.
    """
    from pyflink.table import CompiledPlan, PlanReference

    file = plan_file(audit=bool(settings.kafka.audit_topic))
    if not file.is_file():
        raise FlinkError(
            "the job's plan is missing",
            expected=str(file),
            received="no such file",
            fix="install headrace again; in a checkout: python -m pipeline.plan",
        )
    job.declare(tables, settings, engine, bounded=bounded)
    loaded = tables.load_plan(PlanReference.from_file(str(file)))
    # PyFlink 2.2.1 gives the plan the Java environment in place of its own, and cannot execute it.
    return CompiledPlan(loaded._j_compiled_plan, tables)


def compiled(*, audit: bool) -> dict[str, Any]:
    """The plan made anew of the SQL, as Flink's JSON; starts a JVM if there is none."""
    with TemporaryDirectory() as folder:
        flags: Mapping[str, object] = {
            "run_dir": folder,
            "kafka.audit_topic": "audit" if audit else "",
        }
        settings = load_settings(flags=flags, environ={})
        tables = flink.table_environment(settings, flink.mini_cluster(0))
        job.declare(tables, settings, ANY_ENGINE)
        plan = job.statements(tables, audit=audit).compile_plan()
        return numbered_from_1(json.loads(plan.as_json_string()))


def numbered_from_1(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan with its nodes numbered from 1: Flink counts on through all plans of a JVM."""
    before = min(node["id"] for node in plan["nodes"]) - 1
    for node in plan["nodes"]:
        node["id"] -= before
    for edge in plan["edges"]:
        edge["source"] -= before
        edge["target"] -= before
    return plan


def as_text(plan: dict[str, Any]) -> str:
    """The plan as it lies in the file, a line for every small thing, so that changes are seen."""
    return json.dumps(plan, indent=1) + "\n"


if __name__ == "__main__":
    PLANS.mkdir(exist_ok=True)
    for audit in (False, True):
        plan_file(audit=audit).write_text(as_text(compiled(audit=audit)))
