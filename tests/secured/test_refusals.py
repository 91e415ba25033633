"""What goes wrong with a secured broker: told clearly and soon, and nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path
from time import monotonic

import pytest
from typer.testing import CliRunner

from pipeline import kafka
from pipeline.cli import app
from pipeline.config import load_settings
from pipeline.rights import check_job_rights
from pipeline.sources.base import UserEvent
from schemas.errors import KafkaError
from tests.secured.acls import Rule, documented_rules, tabled_rules
from tests.secured.broker import make_certificate
from tests.secured.conftest import Cluster

PLAINTEXT = {"security_protocol": "PLAINTEXT", "sasl_mechanism": "", "sasl_username": ""}
SOON_S = 10.0


def test_the_table_of_least_privileges_says_what_its_commands_do() -> None:
    assert sorted(tabled_rules()) == sorted(documented_rules())
    assert len(documented_rules()) > 20


@pytest.mark.real
class TestRefused:
    @pytest.fixture(autouse=True)
    def _impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kafka, "ANSWER_S", 1.5)

    @pytest.fixture
    def other(self, tmp_path: Path) -> str:
        make_certificate(tmp_path, "a password")
        return str(tmp_path / "ca.pem")

    def told(self, cluster: Cluster, role: str = "admin", **changes: str) -> dict[str, str]:
        """How `headrace topics` is refused."""
        began = monotonic()
        environ = cluster.environment(role, **changes)
        result = CliRunner().invoke(app, ["topics", "--json"], env=environ)
        assert monotonic() - began < SOON_S
        assert result.exit_code == KafkaError.exit_code, result.output
        assert isinstance(result.exception, SystemExit)
        told: dict[str, str] = json.loads(result.stdout.splitlines()[-1])
        assert all(told[part] for part in ("expected", "received", "fix"))
        assert cluster.broker.passwords["headrace-admin"] not in result.output
        return told

    def test_a_wrong_password(self, cluster: Cluster, tmp_path: Path) -> None:
        (tmp_path / "wrong").write_text("wrong")
        told = self.told(cluster, sasl_password=f"${{file:{tmp_path}/wrong}}")
        assert "invalid credentials" in told["received"]
        assert "kafka.sasl_password" in told["fix"]

    def test_a_mechanism_that_the_broker_does_not_speak(self, cluster: Cluster) -> None:
        told = self.told(cluster, sasl_mechanism="PLAIN")
        assert "supported mechanisms: SCRAM-SHA-512" in told["received"]
        assert "kafka.sasl_mechanism" in told["fix"]

    @pytest.mark.parametrize(
        "changes", [PLAINTEXT | {"sasl_password": ""}, {"security_protocol": "SASL_PLAINTEXT"}]
    )
    def test_plaintext_to_the_port_of_tls(self, cluster: Cluster, changes: dict[str, str]) -> None:
        told = self.told(cluster, **changes)
        assert f"speaks {changes['security_protocol']}" in told["expected"]
        assert "kafka.security_protocol" in told["fix"]

    def test_a_certificate_of_another_authority(self, cluster: Cluster, other: str) -> None:
        told = self.told(cluster, ssl_ca_location=other)
        assert "certificate verify failed" in told["received"]
        assert "kafka.ssl_ca_location" in told["fix"]

    def test_a_host_that_is_not_the_certificates(self, cluster: Cluster) -> None:
        told = self.told(cluster, bootstrap_servers=f"localhost:{cluster.broker.port}")
        assert "certificate verify failed" in told["received"]
        assert "host names" in told["fix"]

    def test_a_user_without_the_right(self, cluster: Cluster) -> None:
        told = self.told(cluster, "producer")
        assert "TOPIC_AUTHORIZATION_FAILED" in told["received"]
        assert "deploy/acls.md" in told["fix"]

    @pytest.mark.parametrize(
        ("topic", "right", "said"),
        [
            ("control", "Read", "READ control"),
            ("recommendations", "Write", "WRITE recommendations"),
        ],
    )
    def test_a_job_that_may_not_do_its_work(
        self, cluster: Cluster, topic: str, right: str, said: str
    ) -> None:
        settings = load_settings(flags=cluster.flags("job"), environ={})
        check_job_rights(settings)
        # Without Describe the topic would not be seen at all, which is told as well.
        with (
            cluster.broker.granted(Rule("headrace-job", "topic", topic, False, "Describe")),
            cluster.broker.without(Rule("headrace-job", "topic", topic, False, right)),
            pytest.raises(KafkaError, match="missing rights") as error,
        ):
            check_job_rights(settings)
        assert said in error.value.received
        assert "deploy/acls.md" in error.value.fix

    def test_an_exactly_once_job_that_may_not_have_transactions(self, cluster: Cluster) -> None:
        flags = cluster.flags("job") | {"job.delivery": "exactly-once"}
        settings = load_settings(flags=flags, environ={})
        check_job_rights(settings)
        right = Rule("headrace-job", "transactional-id", "headrace-", True, "Write")
        with cluster.broker.without(right), pytest.raises(KafkaError, match="refused") as error:
            check_job_rights(settings)
        assert "TRANSACTIONAL_ID_AUTHORIZATION_FAILED" in error.value.received
        assert "deploy/acls.md" in error.value.fix


@pytest.mark.real
def test_events_that_were_refused_are_sent_once_the_right_is_there(
    cluster: Cluster, tmp_path: Path
) -> None:
    settings = load_settings(flags=cluster.flags("producer"), environ={})
    before = kafka.end_offset(settings.kafka, "events")
    log = tmp_path / "log.jsonl"
    events = [UserEvent(f"r-{n}", "user-1", "a", "click", 1_780_000_000_000 + n) for n in range(9)]
    log.write_text("".join(json.dumps(event.as_record()) + "\n" for event in events))
    words = ["produce", "--source", "jsonl", str(log)]
    with cluster.broker.without(Rule("headrace-producer", "topic", "events", False, "Write")):
        refused = cluster.command("producer", *words)
        assert refused.returncode == KafkaError.exit_code, refused.stderr
        assert "no right to WRITE events" in refused.stderr
    assert kafka.end_offset(settings.kafka, "events") == before
    assert cluster.told("producer", *words)["delivered"] == len(events)
    assert kafka.end_offset(settings.kafka, "events") == before + len(events)
