"""One secured broker for the tests of this folder, with topics, events and an engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engines.registry import Registry
from pipeline.layers import env_name
from tests.engines.examples import events, fit
from tests.secured.broker import HOST, MECHANISM, SecuredBroker, secured_broker

COMMAND_WITHIN_S = 120


@dataclass(frozen=True)
class Cluster:
    """The broker, and what commands need to work with it.

    Attributes:
        folder: of passwords, engine store and run folders.
    """

    broker: SecuredBroker
    folder: Path

    def flags(self, role: str, **kafka: str) -> dict[str, object]:
        """Settings of a role, whose password stands in a file; ``kafka`` replaces some."""
        given = {
            "bootstrap_servers": f"{HOST}:{self.broker.port}",
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": MECHANISM,
            "sasl_username": f"headrace-{role}",
            "sasl_password": f"${{file:{self.password_file(role)}}}",
            "ssl_ca_location": str(self.broker.ca),
        }
        flags: dict[str, object] = {f"kafka.{name}": v for name, v in (given | kafka).items()}
        return flags | {"run_dir": self.folder / role, "engine.store": self.folder / "store"}

    def password_file(self, role: str) -> Path:
        """Ends with a line break, as most editors have it."""
        file = self.folder / f"{role}.password"
        file.write_text(self.broker.passwords[f"headrace-{role}"] + "\n")
        return file

    def environment(self, role: str, **kafka: str) -> dict[str, str]:
        """Of a process that is to have these settings."""
        flags = self.flags(role, **kafka)
        return os.environ | {env_name(name): str(value) for name, value in flags.items()}

    def command(
        self, role: str, *words: str, environ: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A headrace command in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "pipeline", *words, "--json"],
            env=self.environment(role) | (environ or {}),
            capture_output=True,
            text=True,
            timeout=COMMAND_WITHIN_S,
        )

    def told(self, role: str, *words: str) -> dict[str, Any]:
        """What a command that must succeed says."""
        done = self.command(role, *words)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer


@pytest.fixture(scope="session")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, free_ports: Callable[[int], list[int]]
) -> Iterator[Cluster]:
    """A cluster on which `headrace topics` made the topics."""
    folder = tmp_path_factory.mktemp("secured")
    registry = Registry(folder / "store")
    registry.add(fit(events("abcd", "abd")).draft(batch=64, k=3), "tiny")
    registry.activate("tiny")
    with secured_broker(tmp_path_factory.mktemp("broker"), free_ports(3)) as broker:
        cluster = Cluster(broker, folder)
        told = cluster.told("admin", "topics")
        assert told["created"] == ["events", "control", "recommendations", "events.dlq"]
        yield cluster
