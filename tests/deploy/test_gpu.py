from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local import cluster, cluster_config
from deploy.local.cluster_config import ClusterFolder, configuration, flink_home
from deploy.local.cluster_process import ClusterProcess
from deploy.local.gpu import refuse_without_gpu
from pipeline.sections import ClusterSettings
from schemas.errors import FlinkError
from tests.deploy.test_cluster import cluster_settings, status

FOLDER = ClusterFolder(Path("/run"))
WITHOUT = configuration(ClusterSettings(), FOLDER, "")
ADDED = {
    key: value
    for key, value in configuration(ClusterSettings(gpu=True), FOLDER, "").items()
    if WITHOUT.get(key) != value
}
GUIDE = (Path(__file__).parents[2] / "deploy" / "gpu.md").read_text()
OWN_CLUSTER, KUBERNETES = (
    yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
)


@pytest.fixture
def coordination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Not that of this machine, where there may be GPUs."""
    file = tmp_path / "coordination"
    monkeypatch.setattr(cluster_config, "GPU_COORDINATION", file)
    return file


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Gives the machine an ``nvidia-smi`` of these commands."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)

    def say(commands: str) -> None:
        program.write_text(f"#!/bin/sh\n{commands}\n")
        program.chmod(0o755)

    return say


class TestTheConfiguration:
    def test_a_gpu_each_and_not_the_same(self) -> None:
        assert ADDED["external-resource.gpu.amount"] == "1"
        # Flink passes over options that it does not know: with a slip, all take the first GPU.
        options = ADDED["external-resource.gpu.param.discovery-script.args"].split()
        script = (
            flink_home() / "plugins/external-resource-gpu/nvidia-gpu-discovery.sh"
        ).read_text()
        for option in options[:2]:
            assert f"    {option})\n" in script

    def test_flink_finds_its_script(self) -> None:
        script = Path(ADDED["external-resource.gpu.param.discovery-script.path"])
        assert script.is_absolute()
        assert os.access(script, os.X_OK)

    def test_nothing_of_it_without_the_setting(self) -> None:
        assert not [key for key in WITHOUT if key.startswith("external-resource")]


class TestTheGuide:
    """Its examples say what the local cluster does."""

    def test_a_cluster_of_ones_own(self) -> None:
        flat = dict(flattened(OWN_CLUSTER))
        assert flat.pop("taskmanager.numberOfTaskSlots") == WITHOUT["taskmanager.numberOfTaskSlots"]
        path = "external-resource.gpu.param.discovery-script.path"
        assert Path(flat.pop(path)).name == Path(ADDED[path]).name
        args = "external-resource.gpu.param.discovery-script.args"
        assert flat.pop(args) == ADDED[args].split()[0]  # the file is Flink's default
        assert flat == {key: ADDED[key] for key in ADDED.keys() - {path, args}}

    def test_kubernetes_gives_each_pod_a_gpu(self) -> None:
        flink = KUBERNETES["spec"]["flinkConfiguration"]
        assert all(isinstance(value, str) for value in flink.values())  # as its schema wants
        same = ("external-resources", "external-resource.gpu.amount")
        assert {key: flink[key] for key in same} == {key: ADDED[key] for key in same}
        assert flink["external-resource.gpu.kubernetes.config-key"] == "nvidia.com/gpu"
        assert flink["taskmanager.numberOfTaskSlots"] == "1"


def flattened(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Flink's names of what stands in nested YAML."""
    found = []
    for key, value in tree.items():
        below = flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else None
        found += [(f"{prefix}{key}", str(value))] if below is None else below
    return found


class TestTaskManagersWithoutAGpu:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> ClusterFolder:
        folder = ClusterFolder(tmp_path)
        folder.logs.mkdir(parents=True)
        folder.out("taskmanager-2").touch()
        return folder

    def refusal(self, folder: ClusterFolder) -> FlinkError:
        pids = {"jobmanager-1": 39, "taskmanager-1": 40, "taskmanager-2": 41}
        with pytest.raises(FlinkError, match="There is no GPU for taskmanager-2") as error:
            refuse_without_gpu(
                {name: ClusterProcess(pid, "now", name) for name, pid in pids.items()}, folder
            )
        return error.value

    def test_only_they_are_named(self, folder: ClusterFolder, coordination: Path) -> None:
        coordination.write_text("0 40\n1 4\n")
        assert "coordination" in self.refusal(folder).received
        assert "nvidia-smi -L" in self.refusal(folder).fix

    @pytest.mark.parametrize(
        ("log", "told"),
        [
            (
                "WARN GPUDriver - Discovery script exit with 1.\n"
                "STDOUT: Could not get enough GPU resources.\nSTDERR: \n"
                "org.apache.flink.util.FlinkException: Discovery script exit with ...: 1.\n",
                "Could not get enough GPU resources.",
            ),
            ("STDOUT: \nSTDERR: \n a.FlinkException: Discovery ...: 1.\n", "FlinkException"),
        ],
    )
    def test_what_flink_says_is_told(
        self, folder: ClusterFolder, coordination: Path, log: str, told: str
    ) -> None:
        coordination.write_text("0 40\n")
        (folder.logs / "flink-taskmanager-2-taskexecutor-0-localhost.log").write_text(log)
        received = self.refusal(folder).received
        assert told in received
        assert "STDERR" not in received

    def test_all_that_have_one_are_welcome(self, coordination: Path) -> None:
        coordination.write_text("1 40\n0 41\n")
        taskmanagers = {f"taskmanager-{n}": ClusterProcess(39 + n, "now") for n in (1, 2)}
        refuse_without_gpu({"jobmanager-1": ClusterProcess(39, "now"), **taskmanagers}, FOLDER)


@pytest.mark.real
def test_a_taskmanager_with_a_gpu_and_one_without(
    tmp_path: Path,
    free_ports: Callable[[int], list[int]],
    coordination: Path,
    nvidia_smi: Callable[[str], None],
) -> None:
    settings = cluster_settings(tmp_path / "run", free_ports(4), gpu=True)
    nvidia_smi("echo 0")
    try:
        told = cluster.start(settings.cluster, settings.run_dir)
        [one] = told.taskmanagers
        assert (one["registered"], one["slots"]) == (True, 1)
        assert coordination.read_text() == f"0 {one['pid']}\n"

        nvidia_smi("echo it says why on its output, which the script drops; exit 9")
        with pytest.raises(FlinkError, match="There is no GPU for taskmanager-2") as error:
            cluster.start(settings.cluster, settings.run_dir, 2)
        assert "Discovery script exit with non-zero return code" in error.value.received
        assert [one["name"] for one in status(settings).taskmanagers] == ["taskmanager-1"]
    finally:
        cluster.stop(settings.cluster, settings.run_dir)
