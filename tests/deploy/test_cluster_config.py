from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.local.cluster_config import (
    ClusterFolder,
    added_jars,
    configuration,
    flink_home,
    hadoop_class_path,
    module_options,
    zoo_cfg,
)
from pipeline.sections import ClusterSettings
from schemas.errors import FlinkError

FOLDER = ClusterFolder(Path("/run dir"))
PLAIN = configuration(ClusterSettings(), FOLDER, "--add-opens=x=ALL-UNNAMED")
AVAILABLE = configuration(ClusterSettings(high_availability=True), FOLDER, "")


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("rest.bind-address", "127.0.0.1", "nobody else may submit or cancel"),
        ("rest.bind-port", "19081", "a port taken is an error, not another port"),
        ("jobmanager.bind-host", "127.0.0.1", "RPC runs what it is sent; blobs are code"),
        ("taskmanager.bind-host", "127.0.0.1", "the same"),
        ("taskmanager.host", "127.0.0.1", "else it registers under the machine's name"),
        ("web.submit.enable", "false", "no jar by web page"),
        ("web.cancel.enable", "false", "no job ends by a slip of the mouse"),
        ("classloader.resolve-order", "parent-first", "one copy of a class for all jobs"),
        ("taskmanager.numberOfTaskSlots", "1", "Flink starts one Python process per slot"),
        ("heartbeat.timeout", "5 s", "one that hangs is noticed in 5 s"),
        ("heartbeat.interval", "500 ms", "one that is gone, after two of them"),
        ("heartbeat.rpc-failure-threshold", "2", "the same"),
        ("cluster.registration.error-delay", "500 ms", "Flink's 10 s is too long to be without"),
        ("taskmanager.memory.process.size", "1280m", "1.2 GB in all: metaspace is not full"),
        ("taskmanager.memory.jvm-metaspace.size", "512m", "classes stay after each restart"),
        ("taskmanager.memory.managed.size", "64m", "state is on the heap unless told otherwise"),
        ("execution.checkpointing.dir", "file:///run%20dir/checkpoints", "within the run folder"),
        ("execution.checkpointing.savepoint-dir", "file:///run%20dir/savepoints", "the same"),
        ("io.tmp.dirs", "/run dir/cluster/tmp", "what a killed task leaves is found and removed"),
    ],
)
def test_what_the_cluster_is_told_and_why(key: str, value: str, reason: str) -> None:
    assert PLAIN[key] == value, reason


@pytest.mark.parametrize("option", ["--add-opens=x=ALL-UNNAMED", "-XX:+ExitOnOutOfMemoryError"])
def test_java_is_told_what_flink_ships_and_what_we_add(option: str) -> None:
    assert option in PLAIN["env.java.opts.all"].split()


def test_a_takeover_does_not_wait_for_the_second_compiler() -> None:
    assert "-XX:Tier4InvocationThreshold=50000" in PLAIN["env.java.opts.taskmanager"].split()


def test_one_jobmanager_has_nobody_to_elect() -> None:
    assert not [key for key in PLAIN if key.startswith("high-availability")]
    assert AVAILABLE["high-availability.type"] == "zookeeper"
    assert AVAILABLE["high-availability.zookeeper.quorum"] == "127.0.0.1:19181"


def test_zookeeper_listens_on_loopback_and_may_have_short_sessions() -> None:
    lines = zoo_cfg(ClusterSettings(), FOLDER).splitlines()
    assert "clientPortAddress=127.0.0.1" in lines
    [tick] = [line for line in lines if line.startswith("tickTime=")]
    session = AVAILABLE["high-availability.zookeeper.client.session-timeout"]
    # ZooKeeper gives a session 2 to 20 ticks, whatever is asked.
    assert 2 * int(tick.partition("=")[2]) <= 1000 * int(session.removesuffix(" s"))


@pytest.mark.parametrize("inherited", ["", "/hadoop/*:/hadoop/conf", ":/hadoop/*::/hadoop/conf:"])
def test_our_jars_come_first_and_what_a_user_had_on_the_class_path_stays(inherited: str) -> None:
    ours = list(map(str, added_jars()))
    theirs = ["/hadoop/*", "/hadoop/conf"] if inherited else []
    joined = hadoop_class_path(added_jars(), {"HADOOP_CLASSPATH": inherited})
    assert joined.split(os.pathsep) == [*ours, *theirs]
    # A command that starts another hands the variable on.
    assert hadoop_class_path(added_jars(), {"HADOOP_CLASSPATH": joined}) == joined


def test_a_user_without_hadoop() -> None:
    assert hadoop_class_path([Path("/a.jar")], {}) == "/a.jar"


def test_flinks_own_module_options_are_found() -> None:
    assert "--add-opens=java.base/java.nio=ALL-UNNAMED" in module_options(flink_home()).split()


def test_a_flink_that_ships_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text("env:\n  java:\n    opts:\n")
    with pytest.raises(FlinkError, match="not as expected"):
        module_options(tmp_path)
