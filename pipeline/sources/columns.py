"""Parquet files, batch by batch, with errors that name the file and the columns."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import SourceError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BATCH_ROWS = 16_384


@contextmanager
def open_parquet(path: Path, required: Collection[str]) -> Iterator[pq.ParquetFile]:
    """The Parquet file ``path``, which has the columns ``required``.

    Raises:
        SourceError: it is no Parquet file, lacks a column, or what is read from it while it is
            open cannot be read or converted.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            present = file.schema_arrow.names
            missing = [name for name in required if name not in present]
            if missing:
                raise SourceError(
                    f"{path} lacks columns",
                    expected=", ".join(required),
                    received=", ".join(present),
                    fix=f"add or rename: {', '.join(missing)}; is --source the right kind?",
                )
            yield file
    except (pa.ArrowException, OSError) as error:
        raise SourceError(
            f"cannot read {path}",
            expected="a Parquet file with columns of the right types",
            received=f"{type(error).__name__}: {error}",
            fix="write the file again; or is it of another kind? --source says which",
        ) from error


def rows_of(files: Sequence[Path], required: Collection[str]) -> int:
    """How many rows the files have together, by their footers; all have the columns required."""
    total = 0
    for path in files:
        with open_parquet(path, required) as file:
            total += file.metadata.num_rows
    return total


def times_ms(column: pa.Array) -> pa.Array:
    """A column of times as int64 milliseconds since 1970: integers, timestamps or ISO strings."""
    import pyarrow as pa

    if pa.types.is_integer(column.type):
        return column.cast(pa.int64())
    return column.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())


def is_sorted(files: Sequence[Path], column: str) -> bool:
    """Whether the times in ``column`` never fall, over all files; reads that column only."""
    import pyarrow.compute as pc

    last = None
    for path in files:
        with open_parquet(path, (column,)) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=[column]):
                times = times_ms(batch.column(0)).drop_null()
                if not len(times):
                    continue
                if last is not None and times[0].as_py() < last:
                    return False
                if pc.any(pc.less(times[1:], times[:-1])).as_py():
                    return False
                last = times[-1].as_py()
    return True
