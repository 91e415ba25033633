"""How Flink's Kafka connector is told who we are, without being told a secret.

A table option stands in SQL, in the plan and in Flink's REST interface. So the password is a
reference there, which Kafka's own config provider resolves where a client is made: on the
JobManager and on each TaskManager, which need the file at the same absolute path. Its first line
counts. An environment variable would not do: Flink gives its environment to its Python part, and
logs it when that ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.fields import ReferredSecret
from pipeline.layers import Problem
from pipeline.sections import KafkaSettings
from schemas.errors import SettingsError

SHADED = "org.apache.flink.kafka.shaded.org.apache.kafka.common"
"""The connector brings Kafka's classes under this name."""
LOGIN_MODULES = {
    "PLAIN": f"{SHADED}.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": f"{SHADED}.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": f"{SHADED}.security.scram.ScramLoginModule",
}
UNGRANTED = "grant kafka.sasl_username what deploy/acls.md lists"
FIXES = {
    "_AUTHENTICATION": "mend kafka.sasl_username, kafka.sasl_password or kafka.sasl_mechanism",
    "_SSL": "kafka.ssl_ca_location must hold the authority that signed the brokers' certificates, "
    "and kafka.bootstrap_servers the host names that stand in them",
    "_ALL_BROKERS_DOWN": "see that the brokers run; if they do, mend kafka.security_protocol: "
    "they hang up on another one than theirs",
    "TOPIC_AUTHORIZATION_FAILED": UNGRANTED,
    "GROUP_AUTHORIZATION_FAILED": UNGRANTED,
    "CLUSTER_AUTHORIZATION_FAILED": UNGRANTED,
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": UNGRANTED,
}
"""The likely remedy of a refusal, by librdkafka's name of it."""
_UNQUOTABLE = re.compile(r'["\\\x00-\x1f\x7f]')
_PLAIN_PATH = re.compile(r"[^:{},]+")
"""A path that Kafka reads in a reference as we do."""


def flink_properties(kafka: KafkaSettings) -> dict[str, str]:
    """Options of a Kafka table, ``properties.*``, for TLS and SASL; none for PLAINTEXT.

    Raises:
        SettingsError: Flink cannot be given this password by reference.
    """
    given = _tls(kafka) | _sasl(kafka) if kafka.security_protocol != "PLAINTEXT" else {}
    return {f"properties.{name}": value for name, value in given.items()}


def missing_files(kafka: KafkaSettings) -> Iterator[Problem]:
    """PEM files that are named but do not hold what they should."""
    wanted = {"ssl_ca_location": ["CERTIFICATE"]}
    wanted["ssl_keystore_location"] = ["PRIVATE KEY", "CERTIFICATE"]
    for name, parts in wanted.items():
        location = getattr(kafka, name)
        if location and (missing := _missing_parts(Path(location), parts)):
            yield Problem(
                f"kafka.{name}",
                f"a PEM file with -----BEGIN {missing}-----",
                location,
                f"mend the file, or kafka.{name}",
            )


def _missing_parts(file: Path, parts: list[str]) -> str:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return parts[0]
    return next((part for part in parts if f"-----BEGIN {part}-----" not in text), "")


def _tls(kafka: KafkaSettings) -> dict[str, str]:
    """Trust and our certificate; the brokers' host names are verified, as Kafka does by itself."""
    stores = {"truststore": kafka.ssl_ca_location, "keystore": kafka.ssl_keystore_location}
    given: dict[str, str] = {"security.protocol": kafka.security_protocol}
    for store, location in stores.items():
        if location:
            given[f"ssl.{store}.type"] = "PEM"
            given[f"ssl.{store}.location"] = str(Path(location).absolute())
    return given


def _sasl(kafka: KafkaSettings) -> dict[str, str]:
    if not kafka.sasl_mechanism:
        return {}
    reference, provider = _reference(kafka)
    user = re.sub(r'(["\\])', r"\\\1", kafka.sasl_username)
    # A quoted text ends at the end of its line, too: with the line break of a file or without.
    login = f'{LOGIN_MODULES[kafka.sasl_mechanism]} required username="{user}" '
    login += f'password="{reference}\n;'
    return {"sasl.mechanism": kafka.sasl_mechanism, "sasl.jaas.config": login} | provider


def _reference(kafka: KafkaSettings) -> tuple[str, dict[str, str]]:
    """The password as Kafka refers to it, and the provider, which may read no other folder."""
    secret = kafka.sasl_password
    if not (isinstance(secret, ReferredSecret) and secret.kind == "file"):
        raise _refused(
            "${file:PATH}, for Flink logs the environment of its Python part",
            "${env:NAME}",
            "write the password to a file that only you and Flink can read",
        )
    file = Path(secret.name).expanduser().absolute()
    if not _PLAIN_PATH.fullmatch(str(file)):
        raise _refused("a path without : { } ,", str(file), "move the file")
    if _UNQUOTABLE.search(secret.get_secret_value()):
        raise _refused(
            'no ", \\ or control character in it', "one; it is not shown", "another password"
        )
    return f"${{dir:{file.parent}:{file.name}}}", {
        "config.providers": "dir",
        "config.providers.dir.class": f"{SHADED}.config.provider.DirectoryConfigProvider",
        "config.providers.dir.param.allowed.paths": str(file.parent),
    }


def _refused(expected: str, received: str, fix: str) -> SettingsError:
    return SettingsError(
        "kafka.sasl_password cannot be handed to Flink",
        expected=expected,
        received=received,
        fix=fix,
    )
