from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import check_settings, load_settings
from pipeline.kafka import client_config
from pipeline.sections import KafkaSettings
from pipeline.security import flink_properties
from schemas.errors import SettingsError

PEM = "-----BEGIN PRIVATE KEY-----\n-----BEGIN CERTIFICATE-----\n"


def sasl(password: str, **kafka: str) -> KafkaSettings:
    given = {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_username": "job",
        "sasl_password": password,
    }
    flags = {f"kafka.{name}": value for name, value in (given | kafka).items()}
    return load_settings(flags=flags, environ={"PASSWORD": "hunter2"}).kafka


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    return file


def test_plaintext_needs_nothing() -> None:
    assert flink_properties(KafkaSettings()) == {}


def test_flink_is_given_the_reference_and_not_the_password(file: Path) -> None:
    for given in ("password", str(file)):
        told = flink_properties(sasl(f"${{file:{given}}}"))
        assert f"${{dir:{file.parent}:password}}" in told["properties.sasl.jaas.config"]
        assert told["properties.config.providers.dir.param.allowed.paths"] == str(file.parent)
        assert "hunter2" not in str(told)


def test_a_quote_in_a_user_name_ends_nothing() -> None:
    told = flink_properties(sasl("${file:password}", sasl_username='a"b\\c'))
    assert 'username="a\\"b\\\\c" password' in told["properties.sasl.jaas.config"]


@pytest.mark.parametrize("name", ["a\nb", "${dir:/etc:passwd}"])
def test_a_user_name_that_means_more_is_refused(name: str) -> None:
    settings, problems = check_settings(flags={"kafka.sasl_username": name}, environ={})
    assert settings is None
    assert "kafka.sasl_username" in {problem.setting for problem in problems}


def test_a_variable_cannot_be_handed_on_for_flink_would_log_it() -> None:
    with pytest.raises(SettingsError, match="handed to Flink") as error:
        flink_properties(sasl("${env:PASSWORD}"))
    assert "file" in error.value.fix
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("password", ['hunter"2', "hunter\\2", "hun\nter2"])
def test_a_password_that_jaas_would_read_otherwise_is_refused(file: Path, password: str) -> None:
    file.write_text(password)
    with pytest.raises(SettingsError, match="handed to Flink") as error:
        flink_properties(sasl("${file:password}"))
    assert "control character" in error.value.expected
    assert password not in str(error.value)


def test_a_path_that_kafka_would_read_otherwise_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a:b").write_text("hunter2")
    with pytest.raises(SettingsError, match="handed to Flink"):
        flink_properties(sasl("${file:a:b}"))


def test_tls_trusts_the_file_and_shows_ours(tmp_path: Path) -> None:
    (tmp_path / "ours.pem").write_text(PEM)
    files = {"ssl_ca_location": "ours.pem", "ssl_keystore_location": "ours.pem"}
    kafka = KafkaSettings(security_protocol="SSL", **files)  # type: ignore[arg-type]
    assert flink_properties(kafka) == {
        "properties.security.protocol": "SSL",
        "properties.ssl.truststore.type": "PEM",
        "properties.ssl.truststore.location": str(tmp_path / "ours.pem"),
        "properties.ssl.keystore.type": "PEM",
        "properties.ssl.keystore.location": str(tmp_path / "ours.pem"),
    }
    config = client_config(kafka)
    assert config["ssl.key.location"] == config["ssl.certificate.location"] == "ours.pem"


@pytest.mark.parametrize("content", [None, b"\xff", b"no PEM", PEM.splitlines()[1].encode()])
def test_a_file_that_does_not_hold_the_key_is_refused(
    content: bytes | None, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "ours.pem").write_bytes(content)
    _, [problem] = check_settings(flags={"kafka.ssl_keystore_location": "ours.pem"}, environ={})
    assert problem.setting == "kafka.ssl_keystore_location"
    assert "BEGIN PRIVATE KEY" in problem.expected
