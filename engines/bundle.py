"""Engine bundles, opened only after every byte was checked. ``engines.draft`` writes them.

    <store>/<name>/<version>/
        manifest.json   what the other files are, with their sizes and SHA-256
        model.onnx      features -> scores, items, channels; all data inside
        items.arrow     the catalogue
        table.*.bin     other inputs of the model that are about the items, if it has any
        weights.safetensors  parameters of the network, to go on fitting it, if it has any
        model.*.plan    the model as TensorRT has built it for a GPU, if it was

``Bundle.open`` reads each file once through one descriptor and hashes the bytes that it then
parses, so that nothing can be swapped between check and use. No inference session is opened here.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.catalogue import Catalogue, columns
from engines.features import FEATURES
from engines.graph_check import check_model
from engines.manifest import (
    ITEMS,
    MANIFEST,
    MODEL,
    WEIGHTS,
    FileEntry,
    Manifest,
    Table,
    entry_of,
    outputs_of,
    parse_manifest,
)
from schemas.errors import BundleRefused, EngineError

MAX_MANIFEST_BYTES = 1 << 20
REFETCH = "train the engine again, or fetch a whole copy of the bundle"


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle in memory.

    Args:
        folder: where it was read from.
        manifest: its parsed manifest.
        digest: SHA-256 of ``manifest.json``, 32 bytes: names the engine's every byte.
        model: the bytes of ``model.onnx``.
        catalogue: the items.
        tables: by name, read-only: the model's inputs that are the same at every run.
        weights: the bytes of ``weights.safetensors``, or none.
        plans: by file, what TensorRT has built; described in the manifest.
    """

    folder: Path
    manifest: Manifest
    digest: bytes
    model: bytes
    catalogue: Catalogue
    tables: dict[str, NDArray[Any]]
    weights: bytes
    plans: dict[str, bytes] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """``name@version``, as lists carry it."""
        return f"{self.manifest.name}@{self.manifest.version}"

    @classmethod
    def open(cls, folder: Path, expected_manifest_sha256: str | None = None) -> Bundle:
        """Read and verify a bundle.

        Args:
            folder: of the bundle.
            expected_manifest_sha256: hex; what the manifest must hash to, if known.

        Raises:
            BundleRefused: anything missing, unknown, truncated, altered, dangerous or of another
                shape than the manifest says. No session was opened.
        """
        with _opened(folder) as descriptor:
            text = _read(descriptor, MANIFEST, MAX_MANIFEST_BYTES)
            digest = hashlib.sha256(text)
            if expected_manifest_sha256 not in (None, digest.hexdigest()):
                raise _refusal(MANIFEST, f"SHA-256 {expected_manifest_sha256}", digest.hexdigest())
            manifest = parse_manifest(text)
            _check_claims(manifest)
            _check_listing(os.listdir(descriptor), manifest)  # noqa: PTH208 - of this folder
            files = {
                name: _read_verified(descriptor, name, entry)
                for name, entry in sorted(manifest.files.items())
            }
        check_model(files[MODEL], manifest)
        catalogue = _parse_items(files[ITEMS], manifest)
        tables = {table.name: _parse_table(files[table.file], table) for table in manifest.tables}
        weights = files.get(WEIGHTS, b"")
        plans = {plan.file: files[plan.file] for plan in manifest.plans}
        return cls(
            folder, manifest, digest.digest(), files[MODEL], catalogue, tables, weights, plans
        )


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """A descriptor of the folder, so that every file below is opened in this very folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise _refusal(str(folder), "a bundle folder", str(error)) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read(folder: int, name: str, limit: int, exact: bool = False) -> bytes:
    """A regular file of at most (or exactly) ``limit`` bytes; the size is judged first."""
    try:
        # O_NONBLOCK: opening a named pipe must not wait for a writer.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _refusal(name, "a regular file", stat.filemode(status.st_mode))
            if status.st_size > limit or (exact and status.st_size != limit):
                bound = f"{limit} bytes" if exact else f"at most {limit} bytes"
                raise _refusal(name, bound, f"{status.st_size} bytes")
            return file.read(limit)
    except OSError as error:
        raise _refusal(name, "a regular, readable file, no link", str(error)) from error


def _read_verified(folder: int, name: str, entry: FileEntry) -> bytes:
    data = _read(folder, name, entry.size_bytes, exact=True)
    received = entry_of(data).sha256
    if received != entry.sha256:
        raise _refusal(name, f"SHA-256 {entry.sha256}", received)
    return data


def _check_listing(names: list[str], manifest: Manifest) -> None:
    expected = {MANIFEST, *manifest.files}
    for name in sorted(set(names) ^ expected):
        found = "missing" if name in expected else "present, but not in the manifest"
        raise _refusal(name, f"exactly {sorted(expected)}", found)


def _check_claims(manifest: Manifest) -> None:
    """The manifest against itself: files, batch, inputs, outputs."""
    tables = {table.file: table.size_bytes for table in manifest.tables}
    needed = {MODEL, ITEMS, *tables, *(plan.file for plan in manifest.plans)}
    if needed != set(manifest.files) - {WEIGHTS}:
        raise _refusal(MANIFEST, f"files {sorted(needed)}", str(sorted(manifest.files)))
    for name, size_bytes in tables.items():
        if manifest.files[name].size_bytes != size_bytes:
            raise _refusal(
                name, f"{size_bytes} bytes by its shape", f"{manifest.files[name].size_bytes}"
            )
    for plan in manifest.plans:
        if plan.onnx_sha256 != manifest.files[MODEL].sha256:
            raise _refusal(
                plan.file,
                f"a plan of {MODEL} with SHA-256 {manifest.files[MODEL].sha256}",
                plan.onnx_sha256,
                "build it again with `headrace build`",
            )
    for tensor in manifest.inputs:
        if FEATURES.get(tensor.name) != tensor.dtype or tensor.shape[0] != manifest.batch:
            known = ", ".join(f"{name} {dtype}" for name, dtype in FEATURES.items())
            raise _refusal(
                MANIFEST, f"inputs out of {known}, of {manifest.batch} rows", str(tensor)
            )
    widths = sorted({t.shape[1] for t in manifest.inputs if t.name != "excluded"})
    if len(widths) > 1:
        raise _refusal(MANIFEST, "inputs that see the same number of events", str(widths))
    outputs = outputs_of(manifest.batch, manifest.k)
    if manifest.outputs != outputs:
        raise _refusal(MANIFEST, f"outputs {outputs}", str(manifest.outputs))


def _parse_table(data: bytes, table: Table) -> NDArray[Any]:
    dtype = np.dtype(table.dtype)
    little: NDArray[Any] = np.frombuffer(data, dtype.newbyteorder("<")).reshape(table.shape)
    return little.astype(dtype, copy=False)


def _parse_items(data: bytes, manifest: Manifest) -> Catalogue:
    import pyarrow as pa

    try:
        table = pa.ipc.open_file(pa.py_buffer(data)).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise _refusal(ITEMS, "an Arrow IPC file", str(error)) from error
    if not table.schema.equals(columns()):
        raise _refusal(ITEMS, str(columns()), str(table.schema))
    if table.num_rows != manifest.catalogue_size:
        raise _refusal(ITEMS, f"{manifest.catalogue_size} items", f"{table.num_rows}")
    try:
        return Catalogue.from_table(table)
    except EngineError as error:
        raise _refusal(ITEMS, error.expected, f"{error.message}: {error.received}") from error


def _refusal(file: str, expected: str, received: str, fix: str = REFETCH) -> BundleRefused:
    return BundleRefused(
        f"the engine bundle is refused: {file}", expected=expected, received=received, fix=fix
    )
