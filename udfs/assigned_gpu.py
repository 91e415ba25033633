"""The GPU that Flink gave this worker's TaskManager is the only one that the worker sees.

    TaskManager 4711 ─▶ nvidia-gpu-discovery.sh ─▶ coordination file, a line "1 4711": GPU 1
          └─▶ pyflink-udf-runner.sh ─▶ this process ─▶ CUDA_VISIBLE_DEVICES=1

Flink's plugin tells functions in Java which GPU they have, and functions in Python nothing. In its
coordination mode it writes that down for the TaskManagers of one machine, by their process ids. In
a container that sees one GPU only there is nothing to choose.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from udfs.lifeline import PROC, parent_of

log = logging.getLogger(__name__)

COORDINATION_FILE = Path("/var/tmp/flink-gpu-coordination")  # noqa: S108 - Flink's default
VISIBLE = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"
_LINE = re.compile(r"(\d+) (\d+)", re.ASCII)


def use_assigned_gpu(
    environ: MutableMapping[str, str],
    pid: int | None = None,
    file: Path = COORDINATION_FILE,
    proc: Path = PROC,
) -> None:
    """Hide the other GPUs from CUDA, which must not be loaded yet.

    Nothing is done where ``CUDA_VISIBLE_DEVICES`` is set, where no process above us has a GPU, or,
    with a warning, where the file cannot be understood.

    Args:
        environ: variables of this process, which CUDA reads; changed.
        pid: of this process; None: really.
        file: of the coordination mode.
        proc: where the system tells of its processes.
    """
    if VISIBLE in environ or not file.exists():
        return
    try:
        gpus = gpus_by_owner(file.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        log.warning("which GPU is ours is not known, the first one is used: %s: %s", file, error)
        return
    owners = ancestors(os.getpid() if pid is None else pid, proc)
    gpu = next((gpus[owner] for owner in owners if owner in gpus), None)
    if gpu is not None:
        # By itself CUDA counts from the fastest GPU, and nvidia-smi, whose number it is, does not.
        environ.update({VISIBLE: str(gpu), ORDER: "PCI_BUS_ID"})
        log.info("GPU %d is ours", gpu)


def gpus_by_owner(text: str) -> dict[int, int]:
    """The GPU of each process.

    Args:
        text: a line ``<gpu> <process>`` each, the newest last. If there are two of a process the
            first may be of a dead one that had the same id.

    Raises:
        ValueError: another line.

    >>> gpus_by_owner("0 4711\\n1 4712\\n")
    {4711: 0, 4712: 1}
    """
    found = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"expected <gpu> <process>, received {line[:80]!r}")
        found[int(match[2])] = int(match[1])
    return found


def ancestors(pid: int, proc: Path = PROC) -> Iterator[int]:
    """The processes above one, from its parent up to the system's first, which is left out.

    Every process descends from that one, and in containers it is what was started there: its id in
    a file says nothing of us.
    """
    try:
        while (pid := parent_of(pid, proc)) > 1:
            yield pid
    except OSError:  # gone, or hidden from us
        return
