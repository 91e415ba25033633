"""Text files, line by line, with the line's place for errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from pipeline.sources.source import malformed


def text_lines(files: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Each line that is not blank, after its place, such as ``log.jsonl, line 7``."""
    for path in files:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                place = f"{path}, line {number}"
                try:
                    text = line.decode("utf-8").strip()
                except UnicodeDecodeError as error:
                    raise malformed(place, "text in UTF-8", error) from error
                if text:
                    yield place, text


def json_lines(files: Iterable[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line's JSON object, after its place. NaN and Infinity are no JSON."""
    for place, text in text_lines(files):
        try:
            value = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise malformed(place, "one JSON object", f"{error}: {text}") from error
        if not isinstance(value, dict):
            raise malformed(place, "one JSON object", text)
        yield place, value


def count_in_lines(files: Iterable[Path], count: Callable[[bytes], int]) -> int:
    """The sum of ``count`` over all lines that are not blank; nothing is checked."""
    total = 0
    for path in files:
        with path.open("rb") as file:
            total += sum(count(line) for line in file if line.strip())
    return total


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
