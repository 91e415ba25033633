"""Real event logs that lie beside the repository, where there are any."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "shared" / "data"


def shared_data(name: str) -> Path:
    """The path of the shared data file ``name``; skips the test if it is not there."""
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"needs the real log {name} in ../shared/data")
    return path
