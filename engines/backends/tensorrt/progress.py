"""How far TensorRT is with a build: its phases, which lie in one another, as one share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeAlias

Told: TypeAlias = Callable[[str, int, int], None]
"""Told of a stage, how much of the whole is done, and what the whole is."""

WHOLE = 1000


@dataclass(slots=True)
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class Phases:
    """The phases that a build is in.

    >>> said = []
    >>> phases = Phases(lambda stage, done, whole: said.append((stage, done)))
    >>> phases.start("build", None, 2)
    >>> phases.start("tune", "build", 4)
    >>> phases.step("tune", 0)
    >>> phases.finish("tune")
    >>> phases.step("build", 0)
    >>> said
    [('tune', 125), ('build', 500)]
    """

    def __init__(self, told: Told) -> None:
        self._told = told
        self._phases: dict[str, _Phase] = {}
        self._lock = Lock()  # TensorRT builds in several threads

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase of so many steps began, inside a step of its parent."""
        with self._lock:
            self._phases[name] = _Phase(parent, steps)

    def step(self, name: str, number: int) -> None:
        """Step ``number`` of a phase, counted from 0, is done."""
        with self._lock:
            self._phases[name].done = number + 1
            self._told(name, round(self._share(name) * WHOLE), WHOLE)

    def finish(self, name: str) -> None:
        """A phase ended; its parent tells of the step that it was a part of."""
        with self._lock:
            self._phases.pop(name, None)

    def _share(self, name: str) -> float:
        """Of the whole build that is done, seen from a phase outwards."""
        phase: _Phase | None = self._phases[name]
        share = 0.0
        while phase:
            share = (phase.done + share) / phase.steps
            phase = self._phases.get(phase.parent) if phase.parent else None
        return min(share, 1.0)


def monitor(module: Any, told: Told) -> Any:
    """An ``IProgressMonitor`` of a TensorRT package. Its errors end in TensorRT, so it has none."""
    phases = Phases(told)

    class Monitor(module.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            phases.step(phase_name, step)
            return True

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()
