"""A real broker with TLS, SCRAM and ACLs, for tests: nobody may do anything unless told.

Clients come in over SASL_SSL, or over TLS with a certificate of their own, as the broker comes to
its controller; nobody is anonymous. Certificate and passwords are made anew each time.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

from deploy.local.broker import HERE, LIB
from deploy.local.java import find_java
from tests.secured.acls import Rule, documented_rules

ROOT_USER = "root"
HOST = "127.0.0.1"
START_WITHIN_S = 60.0
MECHANISM = "SCRAM-SHA-512"

# Laid over the properties of the local broker; of two equal names Java takes the later.
SECURED = """
listeners=SASL_SSL://$host:$port,MUTUAL://$host:$mutual_port,CONTROLLER://$host:$controller_port
advertised.listeners=SASL_SSL://$host:$port,MUTUAL://$host:$mutual_port
listener.security.protocol.map=SASL_SSL:SASL_SSL,MUTUAL:SSL,CONTROLLER:SSL
inter.broker.listener.name=SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
  org.apache.kafka.common.security.scram.ScramLoginModule required \
  username="root" password="$password";
ssl.keystore.type=PKCS12
ssl.keystore.location=$keystore
ssl.keystore.password=$password
ssl.truststore.type=PEM
ssl.truststore.location=$ca
listener.name.mutual.ssl.client.auth=required
listener.name.controller.ssl.client.auth=required
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:root;User:CN=broker
"""


@dataclass
class SecuredBroker:
    """A running broker.

    Attributes:
        port: on `HOST`, the only name in the broker's certificate.
        mutual_port: the same for clients that show a certificate.
        ca: PEM file of its certificate, which signed itself.
        passwords: of each principal of deploy/acls.md, and of root, who may do everything.
    """

    folder: Path
    port: int
    mutual_port: int
    controller_port: int
    passwords: dict[str, str] = field(default_factory=dict)

    def certificate(self) -> Path:
        """The broker's own key and certificate as PEM, which makes root of whoever shows it."""
        file = self.folder / "identity.pem"
        command = ["openssl", "pkcs12", "-in", str(self.folder / "keystore.p12"), "-nodes"]
        command += ["-passin", f"pass:{self.passwords[ROOT_USER]}", "-out", str(file)]
        subprocess.run(command, check=True, capture_output=True)
        return file

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def client(self, user: str) -> dict[str, Any]:
        """librdkafka's settings for a user."""
        return {
            "bootstrap.servers": f"{HOST}:{self.port}",
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": MECHANISM,
            "sasl.username": user,
            "sasl.password": self.passwords[user],
            "ssl.ca.location": str(self.ca),
            "log_level": 0,
        }

    @contextmanager
    def granted(self, *rules: Rule) -> Iterator[None]:
        """Gives further rights for a while."""
        _grant(self, rules)
        try:
            yield
        finally:
            _revoke(self, rules)

    @contextmanager
    def without(self, *rules: Rule) -> Iterator[None]:
        """Takes rights away for a while."""
        _revoke(self, rules)
        try:
            yield
        finally:
            _grant(self, rules)


@contextmanager
def secured_broker(folder: Path, ports: Sequence[int]) -> Iterator[SecuredBroker]:
    """Starts it with the principals and rules of deploy/acls.md; ends it on the way out."""
    port, mutual_port, controller_port = ports
    broker = SecuredBroker(
        folder, port, mutual_port, controller_port, {ROOT_USER: secrets.token_hex(16)}
    )
    make_certificate(folder, broker.passwords[ROOT_USER])
    properties = folder / "server.properties"
    properties.write_text(_properties(broker))
    java = [find_java(), "-Xmx384m", "-cp", f"{LIB}/*"]
    _format(java, properties, broker.passwords[ROOT_USER])
    logging = [f"-Dheadrace.logs={folder}", f"-Dlog4j2.configurationFile={HERE}/log4j2.properties"]
    with (folder / "console.log").open("wb") as console:
        process = subprocess.Popen(
            [*java, *logging, "kafka.Kafka", str(properties)], stdout=console, stderr=console
        )
    try:
        _wait_until_it_answers(broker, process)
        _admit(broker, documented_rules())
        yield broker
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder / "data")


def make_certificate(folder: Path, password: str) -> None:
    """A key pair whose certificate holds for `HOST` alone: keystore.p12 and ca.pem."""
    keytool = shutil.which("keytool") or str(Path(find_java()).with_name("keytool"))
    store = ["-keystore", str(folder / "keystore.p12"), "-storepass", password, "-alias", "broker"]
    key = ["-keyalg", "EC", "-groupname", "secp256r1", "-storetype", "PKCS12", "-validity", "2"]
    holder = ["-dname", "CN=broker", "-ext", f"san=ip:{HOST}"]
    for command in (
        ["-genkeypair", *key, *holder],
        ["-exportcert", "-rfc", "-file", str(folder / "ca.pem")],
    ):
        subprocess.run([keytool, *command, *store], check=True, capture_output=True)


def _properties(broker: SecuredBroker) -> str:
    template = (HERE / "server.properties").read_text() + SECURED
    return Template(template).substitute(
        host=HOST,
        port=broker.port,
        mutual_port=broker.mutual_port,
        controller_port=broker.controller_port,
        data=broker.folder / "data",
        keystore=broker.folder / "keystore.p12",
        ca=broker.ca,
        password=broker.passwords[ROOT_USER],
    )


def _format(java: list[str], properties: Path, password: str) -> None:
    command = [*java, "kafka.tools.StorageTool", "format", "--config", str(properties)]
    command += ["--cluster-id=secured-cluster-for-00"]
    command += ["--add-scram", f"{MECHANISM}=[name={ROOT_USER},password={password}]"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or done.stdout


def _wait_until_it_answers(broker: SecuredBroker, process: subprocess.Popen[bytes]) -> None:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    deadline = time.monotonic() + START_WITHIN_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            admin = AdminClient(broker.client(ROOT_USER))
            if admin.list_topics(timeout=2).brokers:
                return
        except KafkaException:
            continue
    raise AssertionError((broker.folder / "console.log").read_text()[-2000:])


def _admit(broker: SecuredBroker, rules: list[Rule]) -> None:
    """Gives each principal of the rules a password, and what they allow it."""
    from confluent_kafka.admin import (
        AdminClient,
        ScramCredentialInfo,
        ScramMechanism,
        UserScramCredentialUpsertion,
    )

    admin = AdminClient(broker.client(ROOT_USER))
    broker.passwords |= {rule.user: secrets.token_hex(16) for rule in rules}
    strength = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    users = [
        UserScramCredentialUpsertion(user, strength, password.encode())
        for user, password in broker.passwords.items()
        if user != ROOT_USER
    ]
    for answer in admin.alter_user_scram_credentials(users).values():
        answer.result()
    _grant(broker, rules)


def _grant(broker: SecuredBroker, rules: Sequence[Rule]) -> None:
    from confluent_kafka.admin import AdminClient

    admin = AdminClient(broker.client(ROOT_USER))
    for made in admin.create_acls([rule.binding() for rule in rules]).values():
        made.result()


def _revoke(broker: SecuredBroker, rules: Sequence[Rule]) -> None:
    from confluent_kafka.admin import AdminClient

    admin = AdminClient(broker.client(ROOT_USER))
    for gone in admin.delete_acls([rule.filter() for rule in rules]).values():
        assert len(gone.result()) == 1
