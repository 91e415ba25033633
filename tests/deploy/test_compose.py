"""compose.yaml and the Dockerfile say what the rest of the repository says. Neither is run here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
import typer
import yaml

from deploy.docker import flink_conf
from deploy.local.cluster_config import LOGGING, added_jars, flink_home
from deploy.local.java import JAVA_VERSION
from pipeline.cli import app
from pipeline.config import Settings, load_settings
from pipeline.flink import NEEDED_JARS, state_folder
from pipeline.quarantine import suspects_folder
from pipeline.sections import ClusterSettings, KafkaSettings
from pipeline.submit import jars_to_send

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy" / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if "build" in one}
CLIENT = SERVICES["headrace"]
FLINK = flink_conf.configuration()


def client_settings() -> Settings:
    return load_settings(environ=CLIENT["environment"], file=None, flags={})


def tag(service: str) -> str:
    return str(SERVICES[service]["image"].rpartition(":")[2])


def mounts(service: str) -> dict[str, str]:
    """Path in the container → name of the volume, with its mode."""
    named = [volume.split(":", 1) for volume in SERVICES[service]["volumes"] if ":" in volume]
    return {rest.removesuffix(":ro"): name for name, rest in named}


def on_a_shared_volume(path: Path, *services: str) -> bool:
    found = [
        {(mount, name) for mount, name in mounts(one).items() if path.is_relative_to(mount)}
        for one in services
    ]
    return len(set.intersection(*found)) == 1


def class_path(service: str) -> list[Path]:
    """What is added to Flink's own."""
    return [Path(jar) for jar in SERVICES[service]["environment"]["HADOOP_CLASSPATH"].split(":")]


def leaky_ports(services: dict[str, dict[str, Any]]) -> list[str]:
    ports = [str(port) for one in services.values() for port in one.get("ports", [])]
    return [port for port in ports if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)]


def test_versions_are_those_of_the_repository() -> None:
    pom = ElementTree.parse(ROOT / "deploy" / "local" / "pom.xml")
    ours = {"m": "http://maven.apache.org/POM/4.0.0"}
    broker = pom.find(".//m:dependency[m:artifactId='kafka_2.13']/m:version", ours)
    assert broker is not None
    assert tag("kafka") == broker.text
    makefile = (ROOT / "Makefile").read_text()
    assert f"REGISTRY_VERSION := {tag('registry')}\n" in makefile
    project = (ROOT / "pyproject.toml").read_text()
    assert {tag(name) for name in OURS} == set(re.findall(r'^version = "(.+)"', project, re.M))


def test_the_image_takes_its_versions_from_the_repository() -> None:
    assert "-c deploy/constraints.txt" in DOCKERFILE
    assert "make job-jars" in DOCKERFILE
    assert set(re.findall(r"openjdk-(\d+)", DOCKERFILE)) == {str(JAVA_VERSION)}
    pythons = re.findall(r"^FROM python:(\S+?)-", DOCKERFILE, re.M)
    assert pythons == ["3.11", "3.11"], "the environment of one stage must run in the other"
    assert not re.search(r"\d+\.\d+\.\d+", DOCKERFILE), "a version that would have to be kept"


def test_ports_are_published_on_loopback_only() -> None:
    assert not leaky_ports(SERVICES)
    assert leaky_ports({"web": {"ports": ["8081:8081"]}}) == ["8081:8081"]
    assert leaky_ports({"web": {"ports": [8081]}}) == ["8081"]


def test_the_host_needs_no_settings_to_reach_kafka_and_flink() -> None:
    kafka = SERVICES["kafka"]
    host = KafkaSettings().bootstrap_servers
    assert f"HOST://{host}" in kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert kafka["ports"] == [f"{host}:{host.rpartition(':')[2]}"]
    rest = ClusterSettings().rest_port
    assert SERVICES["jobmanager"]["ports"] == [f"127.0.0.1:{rest}:{rest}"]


def test_containers_find_each_other_by_name() -> None:
    settings = client_settings()
    advertised = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert f"CONTAINERS://{settings.kafka.bootstrap_servers}," in advertised
    assert urlsplit(settings.registry.url).hostname in SERVICES
    assert settings.cluster.host == FLINK["rest.address"] == FLINK["jobmanager.rpc.address"]
    assert settings.cluster.host in SERVICES
    assert str(settings.cluster.rest_port) == FLINK["rest.port"]
    assert "taskmanager.host" not in FLINK, "each registers under its own address"


def test_the_broker_is_set_as_the_local_one() -> None:
    ours = SERVICES["kafka"]["environment"]
    lines = (ROOT / "deploy" / "local" / "server.properties").read_text().splitlines()
    pairs = [line.partition("=")[::2] for line in lines if line and not line.startswith("#")]
    same = {key: value for key, value in pairs if "$" not in value}
    assert len(same) > 10
    for key, value in same.items():
        assert ours[f"KAFKA_{key.replace('.', '_').upper()}"] == value, key


def test_flink_is_set_as_the_local_one_but_for_addresses() -> None:
    from deploy.local.cluster_config import ClusterFolder, configuration, module_options

    folder = ClusterFolder(flink_conf.RUN_DIR)
    local = configuration(ClusterSettings(), folder, module_options(flink_home()))
    differs = {key for key in local if local[key] != FLINK.get(key)}
    assert differs == {
        *("rest.address", "rest.bind-address", "jobmanager.rpc.address", "jobmanager.bind-host"),
        *("taskmanager.host", "taskmanager.bind-host", "io.tmp.dirs", "env.java.opts.all"),
    }
    assert set(FLINK) <= set(local)
    assert FLINK["web.submit.enable"] == "false"
    assert FLINK["taskmanager.numberOfTaskSlots"] == "1"


def test_flink_logs_to_the_console_alone(tmp_path: Path) -> None:
    flink_conf.write(tmp_path)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == FLINK
    assert "console.log.level=OFF" not in FLINK["env.java.opts.all"]
    shipped = (flink_home() / "conf" / LOGGING).read_text()
    written = (tmp_path / LOGGING).read_text()
    assert "RollingFile" in shipped
    assert "RollingFile" not in written
    assert "rootLogger.appenderRef.console.ref = ConsoleAppender" in written


def test_state_and_suspects_are_shared_at_one_path() -> None:
    settings = client_settings()
    assert settings.run_dir == flink_conf.RUN_DIR
    for kind, key in (("checkpoints", "dir"), ("savepoints", "savepoint-dir")):
        assert state_folder(settings, kind) == FLINK[f"execution.checkpointing.{key}"]
        folder = Path(urlsplit(state_folder(settings, kind)).path)
        assert on_a_shared_volume(folder, "headrace", "jobmanager", "taskmanager")
    assert on_a_shared_volume(suspects_folder(settings), "headrace", "taskmanager")
    assert not on_a_shared_volume(Path("/tmp"), "headrace", "taskmanager")


def test_engines_are_written_by_the_client_and_read_by_the_taskmanagers() -> None:
    store = client_settings().engine.store
    assert on_a_shared_volume(store, "headrace", "taskmanager")
    assert f"store:{store}" in CLIENT["volumes"]
    assert f"store:{store}:ro" in SERVICES["taskmanager"]["volumes"]


def test_volumes_are_declared_and_belong_to_the_images_user() -> None:
    used = {name for one in SERVICES if "volumes" in SERVICES[one] for name in mounts(one).values()}
    assert used == COMPOSE["volumes"].keys()
    [made] = re.findall(r"install -d -o headrace -g headrace (.+)", DOCKERFILE)
    assert {path for name in OURS for path in mounts(name)} == set(made.split())


def test_commands_exist() -> None:
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for service in ("topics", "headrace"):
        assert SERVICES[service]["command"][0] in known
    readme = (DOCKER / "README.md").read_text()
    told = re.findall(r"run --rm (?:-v \S+ )?headrace (\w+)", readme)
    assert {"train", "activate", "submit", "status", "stop"} <= set(told) <= known.keys()


def test_scripts_and_configuration_are_where_the_image_puts_them() -> None:
    for name in ("jobmanager", "taskmanager"):
        shell, script, mode = SERVICES[name]["entrypoint"]
        assert (shell, mode) == ("bash", "start-foreground")
        assert (flink_home() / Path(script).relative_to("/opt/headrace/flink")).is_file()
        conf = SERVICES[name]["environment"]["FLINK_CONF_DIR"]
        [jars] = {jar.parent for jar in class_path(name)}
        assert f"-P -m deploy.docker.flink_conf {conf} {jars} " in DOCKERFILE


@pytest.mark.parametrize("name", ["jobmanager", "taskmanager"])
def test_the_class_path_is_that_of_the_local_cluster(name: str, tmp_path: Path) -> None:
    jars = [jar.name for jar in added_jars()]
    assert [jar.name for jar in class_path(name)] == jars
    flink_conf.link_jars(tmp_path)
    assert {jar.name: jar.readlink() for jar in tmp_path.iterdir()} == dict(
        zip(jars, added_jars(), strict=True)
    )


def test_submit_sends_no_jar_that_the_containers_have(job_jars: Path) -> None:
    def sent(class_path: Sequence[Path]) -> list[str]:
        return [jar.name for jar in jars_to_send([str(jar) for jar in class_path])]

    assert sent(class_path("jobmanager")) == [NEEDED_JARS[0]]
    renamed = [Path("/opt/headrace/flink-python.jar")]
    assert sent(renamed) == [NEEDED_JARS[0], *(jar.name for jar in added_jars())]


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["restart"]
    assert "privileged" not in service
    assert service.get("read_only", False) == (name in OURS)


def test_the_image_does_not_run_as_root() -> None:
    assert re.findall(r"^USER (.+)", DOCKERFILE, re.M)[-1] == "10001"


@pytest.mark.parametrize("name", ["kafka", "registry", "jobmanager"])
def test_what_others_wait_for_is_checked(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    waits = [one["depends_on"].get(name) for one in SERVICES.values() if "depends_on" in one]
    assert {"condition": "service_healthy"} in waits


def test_memory_is_enough_for_what_is_asked() -> None:
    jvm_mb = int(FLINK["taskmanager.memory.process.size"].removesuffix("m"))
    python_worker_mb = 350
    assert SERVICES["taskmanager"]["mem_limit"] == "2g"
    assert jvm_mb + python_worker_mb < 2_048


def test_no_secret_stands_in_the_files() -> None:
    for name, service in SERVICES.items():
        for variable in service.get("environment", {}):
            assert not re.search("PASSWORD|SECRET|TOKEN|KEY", variable), (name, variable)
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {"headrace.toml", ".git", "**/*.pem"} <= set(ignored)
