"""The documentation of the settings, made of their descriptions.

python -m pipeline.config_docs > deploy/headrace.example.toml
"""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path

from pipeline.config import iter_fields
from pipeline.layers import env_name


def example_toml() -> str:
    """A headrace.toml with every setting at its default and what it does above it."""
    lines = [
        "# Every setting of Headrace at its default. Copy what you change to headrace.toml.",
        "# The environment wins over the file (HEADRACE_KAFKA__PARTITIONS=8), flags over both",
        "# (--set kafka.partitions=8). A secret is ${env:NAME} or ${file:PATH}, never itself.",
    ]
    for section, fields in groupby(iter_fields(), key=lambda one: one[0]):
        lines += ["", f"[{section}]"] if section else []
        for _, name, field in fields:
            lines += ["", f"# {field.description}", f"{name} = {_toml(field.default)}"]
    return "\n".join(lines) + "\n"


def settings_markdown() -> str:
    """A table of every setting, for the README; stands there between <!-- settings --> marks."""
    lines = ["| setting | default | what it does |", "|---|---|---|"]
    for section, name, field in iter_fields():
        dotted = f"{section}.{name}" if section else name
        lines.append(f"| `{dotted}` | `{_toml(field.default)}` | {field.description} |")
    return "\n".join(lines) + f"\n\nIn the environment: `{env_name('kafka.partitions')}=8`.\n"


def _toml(value: object) -> str:
    """A default as TOML; its strings, numbers and booleans are written as in JSON."""
    return json.dumps("" if value is None else str(value) if isinstance(value, Path) else value)


if __name__ == "__main__":
    sys.stdout.write(example_toml())
