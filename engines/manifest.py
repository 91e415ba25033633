"""``manifest.json``: what a bundle claims to hold. Parsed strictly: nothing coerced or ignored."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import BundleRefused

MANIFEST = "manifest.json"
MODEL = "model.onnx"
ITEMS = "items.arrow"
WEIGHTS = "weights.safetensors"

NAME_PATTERN = r"^[a-z0-9][a-z0-9_.-]{0,63}$"
"""Of engine names and versions: a folder name that cannot climb out of the store."""

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
FileName = Annotated[
    str,
    Field(
        pattern=r"^(model\.onnx|items\.arrow|weights\.safetensors"
        r"|model\.[a-z0-9_-]+\.plan|table\.[a-z0-9_]+\.bin)$"
    ),
]
Precision = Literal["float32", "float16", "int8"]
Data: TypeAlias = bytes | memoryview
"""What a file holds; a view has bytes as its items."""
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class FileEntry(_Strict):
    """One file of the bundle."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(ge=1)]


class Tensor(_Strict):
    """One input or output of the model, every dimension fixed."""

    name: Annotated[str, Field(min_length=1)]
    dtype: Literal["int64", "float32"]
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)]


class Table(_Strict):
    """An input of the model that is about the items, the same at every run.

    Its numbers, little-endian and row after row, are the file ``table.<name>.bin``. A catalogue can
    so be refreshed without another model.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    dtype: Literal["int64", "int32", "float32", "float16", "int8"]
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, max_length=2)]

    @property
    def file(self) -> str:
        """Its name in the bundle."""
        return f"table.{self.name}.bin"

    @property
    def size_bytes(self) -> int:
        """What the file must hold."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class GpuPlan(_Strict):
    """The model as TensorRT has built it, the file ``model.<gpu>.plan``. It fits nothing else."""

    gpu: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]  # name and compute capability, or portable
    driver: str | None  # newest CUDA version that it speaks; None: built without one
    flavour: Literal["tensorrt", "tensorrt_rtx"]
    version: str  # of TensorRT
    onnx_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # of the model it was built from

    @property
    def file(self) -> str:
        """Its name in the bundle."""
        return f"model.{self.gpu}.plan"


class Training(_Strict):
    """The log that the model was fitted on, and its range."""

    log: str
    events: Annotated[int, Field(ge=0)]
    users: Annotated[int, Field(ge=0)]
    first_event_time: int | None  # ms since 1970-01-01T00:00:00Z
    last_event_time: int | None


class Manifest(_Strict):
    """Everything a worker must know before it loads the model."""

    format_version: Literal[1]
    name: Name
    version: Name
    parent: str | None  # name@version that this engine was made from
    model: str  # the kind of model, such as "cooccurrence"
    parameters: dict[str, int | Finite | str]
    precision: Precision
    batch: Annotated[int, Field(ge=1)]  # B, the only batch size the model is ever run with
    k: Annotated[int, Field(ge=1)]
    catalogue_size: Annotated[int, Field(ge=1)]
    inputs: Annotated[list[Tensor], Field(min_length=1)]
    outputs: Annotated[list[Tensor], Field(min_length=1)]
    tables: list[Table] = []
    plans: list[GpuPlan] = []
    channels: Annotated[list[str], Field(min_length=1)]  # what the ``channels`` output counts in
    training: Training
    metrics: dict[str, Finite]
    files: dict[FileName, FileEntry]

    @property
    def history_slots(self) -> int:
        """How many of a user's newest events the model looks at."""
        return max((t.shape[1] for t in self.inputs if t.name != "excluded"), default=1)

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(entry.size_bytes for entry in self.files.values())

    @property
    def excluded_slots(self) -> int:
        """How many items that a user is not to be shown the model takes."""
        return next((t.shape[1] for t in self.inputs if t.name == "excluded"), 0)

    def to_bytes(self) -> bytes:
        """Canonical JSON: sorted keys, so equal manifests are equal bytes."""
        return (json.dumps(self.model_dump(), indent=2, sort_keys=True) + "\n").encode()


def entry_of(data: Data) -> FileEntry:
    """Size and hash of a file."""
    return FileEntry(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


def outputs_of(batch: int, k: int) -> list[Tensor]:
    """The outputs that every engine has."""
    return [
        Tensor(name="scores", dtype="float32", shape=[batch, k]),
        Tensor(name="items", dtype="int64", shape=[batch, k]),
        Tensor(name="channels", dtype="int64", shape=[batch, k]),
    ]


def table_of(name: str, array: NDArray[Any]) -> Table:
    """The entry of a table.

    Raises:
        ValidationError: of a dtype or shape that none has.
    """
    return Table.model_validate(
        {"name": name, "dtype": str(array.dtype), "shape": list(array.shape)}
    )


def parse_manifest(data: bytes) -> Manifest:
    """The manifest in ``data``.

    Raises:
        BundleRefused: not JSON, a field missing, unknown or of the wrong type or range.
    """
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise BundleRefused(
            f"{MANIFEST} is not a valid manifest: {field}",
            expected=first["msg"],
            received=repr(first["input"])[:200],
            fix="train the engine again, or fetch a whole copy of the bundle",
        ) from error
