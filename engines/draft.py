"""Engines on their way into a store: written whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from engines.bundle import Bundle
from engines.catalogue import Catalogue
from engines.disk import flush_folder, write_flushed
from engines.features import FEATURES
from engines.manifest import (
    ITEMS,
    MANIFEST,
    MODEL,
    WEIGHTS,
    Data,
    GpuPlan,
    Manifest,
    Precision,
    Tensor,
    Training,
    entry_of,
    outputs_of,
    table_of,
)
from schemas.errors import EngineError

TEMPORARY = ".tmp-"


@dataclass(frozen=True)
class Draft:
    """An engine that has no place in a store yet.

    Args:
        model: serialised ONNX, inputs a subset of ``FEATURES``, outputs as in ``outputs_of``.
        catalogue: the items that it ranks.
        batch, k: B and k of the fixed shapes.
        input_widths: feature name -> second dimension.
        channels: names of the values of the ``channels`` output.
        tables: what else the model reads, about the items, of one or two dimensions; dtypes as of
            ``manifest.Table``.
        weights: the parameters of the network in safetensors format, for those who go on fitting
            it; empty: there are none.
        kind, parameters: which model it is and how it was made.
        training: the log it was fitted on.
        plans: what TensorRT has built; those of another model are left behind.
    """

    model: bytes
    catalogue: Catalogue
    batch: int
    k: int
    input_widths: dict[str, int]
    channels: tuple[str, ...]
    kind: str
    training: Training
    parameters: dict[str, int | float | str] = field(default_factory=dict)
    tables: dict[str, NDArray[Any]] = field(default_factory=dict)
    plans: tuple[tuple[GpuPlan, bytes], ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    weights: bytes = b""
    precision: Precision = "float32"
    parent: str | None = None

    def manifest(self, name: str, version: str, files: Mapping[str, Data]) -> Manifest:
        """The manifest of this draft as ``name@version`` with these files.

        Raises:
            EngineError: a value that a manifest must not hold, such as a metric that is NaN.
        """
        try:
            return Manifest(
                format_version=1,
                name=name,
                version=version,
                parent=self.parent,
                model=self.kind,
                parameters=self.parameters,
                precision=self.precision,
                batch=self.batch,
                k=self.k,
                catalogue_size=len(self.catalogue),
                inputs=[
                    Tensor(name=feature, dtype=FEATURES[feature], shape=[self.batch, width])
                    for feature, width in self.input_widths.items()
                ],
                outputs=outputs_of(self.batch, self.k),
                tables=[table_of(table, array) for table, array in self.tables.items()],
                plans=[plan for plan, _ in self.own_plans()],
                channels=list(self.channels),
                training=self.training,
                metrics=self.metrics,
                files={file: entry_of(data) for file, data in files.items()},
            )
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise EngineError(
                f"{name}@{version} cannot be described: {first['loc']}",
                expected=first["msg"],
                received=repr(first["input"])[:200],
            ) from error

    def own_plans(self) -> list[tuple[GpuPlan, bytes]]:
        """Those that were built from this very model, whatever its tables hold now."""
        own = entry_of(self.model).sha256
        return [(plan, data) for plan, data in self.plans if plan.onnx_sha256 == own]


def draft_of(bundle: Bundle) -> Draft:
    """What a bundle was made of, for another version of it."""
    manifest = bundle.manifest
    return Draft(
        model=bundle.model,
        catalogue=bundle.catalogue,
        batch=manifest.batch,
        k=manifest.k,
        input_widths={tensor.name: tensor.shape[1] for tensor in manifest.inputs},
        channels=tuple(manifest.channels),
        kind=manifest.model,
        training=manifest.training,
        parameters=manifest.parameters,
        tables=bundle.tables,
        plans=tuple((plan, bundle.plans[plan.file]) for plan in manifest.plans),
        metrics=manifest.metrics,
        weights=bundle.weights,
        precision=manifest.precision,
        parent=bundle.label,
    )


def write_bundle(folder: Path, draft: Draft, name: str, version: str) -> None:
    """Write ``draft`` as the bundle ``folder``, or leave nothing there.

    The files are made in a temporary folder beside it, flushed to disk and renamed into place.

    Raises:
        EngineError: the folder exists, or the disk refuses.
    """
    files: dict[str, Data] = {MODEL: draft.model, ITEMS: _items_bytes(draft.catalogue)}
    if draft.weights:
        files[WEIGHTS] = draft.weights
    for table, array in draft.tables.items():
        files[table_of(table, array).file] = little_endian(array)
    files |= {plan.file: data for plan, data in draft.own_plans()}
    manifest = draft.manifest(name, version, files)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=TEMPORARY))
    try:
        for file, data in {**files, MANIFEST: manifest.to_bytes()}.items():
            write_flushed(temporary / file, data)
        temporary.chmod(0o755)
        flush_folder(temporary)
        temporary.rename(folder)
        flush_folder(folder.parent)
    except OSError as error:
        raise EngineError(
            f"the bundle {name}@{version} cannot be written",
            expected=f"a new folder {folder}",
            received=str(error),
            fix="choose another version, or free the disk",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def little_endian(array: NDArray[Any]) -> memoryview:
    """The numbers of a table row after row, where they lie if they lie so."""
    return (
        np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data
    )


def _items_bytes(catalogue: Catalogue) -> memoryview:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, catalogue.table.schema) as writer:
        writer.write_table(catalogue.table)
    return memoryview(sink.getvalue())
