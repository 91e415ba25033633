"""The steps by name, and what each of them needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.backends.base import Tensors
from engines.bundle import Bundle
from engines.compress.graph import layers, load, vectors_of
from engines.compress.half import half
from engines.compress.product import product_items
from engines.compress.weights import int8_items, int8_weights
from engines.draft import Draft
from schemas.errors import EngineError

CALIBRATED = "int8"
"""The step that is to be shown real users."""


@dataclass(frozen=True)
class Step:
    """One way to make an engine smaller.

    Args:
        run: on an engine, inputs of ``manifest.batch`` real users each, and the step's value.
        needs: what an engine must have for it, in words.
        fits: whether an engine has that.
    """

    run: Callable[[Bundle, Sequence[Tensors], str], Draft]
    needs: str
    fits: Callable[[Bundle], bool]


def compressed(
    bundle: Bundle, step: str, batches: Sequence[Tensors] = (), value: str = ""
) -> Draft:
    """The engine after one step; its parent is the bundle. Equal arguments give equal bytes.

    Args:
        step: a name in STEPS.
        batches: inputs of ``manifest.batch`` real users each; only "int8" looks at them.
        value: of "product-items" the bytes of an item.

    Raises:
        EngineError: the engine has nothing for this step, or holds NaN; no real user has an item
            of the engine; the value does not fit it; or a package is missing.
    """
    check(bundle, step)
    draft = STEPS[step].run(bundle, batches, value)
    before = bundle.manifest.parameters.get("compression")
    taken = f"{step} {value}".strip()
    steps = f"{before}+{taken}" if before else taken
    parameters = {**draft.parameters, "compression": steps}
    return replace(draft, parameters=parameters, weights=b"")  # a fit goes on from the parent


def check(bundle: Bundle, step: str) -> None:
    """Whether a step can be taken.

    Raises:
        EngineError: the engine has nothing for it, or holds NaN.
    """
    if not STEPS[step].fits(bundle):
        manifest = bundle.manifest
        raise EngineError(
            f"{bundle.label} has nothing that {step} could compress",
            expected=STEPS[step].needs,
            received=f"{manifest.model}, {manifest.precision}",
            fix=f"compress its parent {manifest.parent}" if manifest.parent else "keep it as it is",
        )
    for name, values in _numbers(bundle):
        if np.isnan(values).any():
            raise EngineError(
                f"{bundle.label} cannot be compressed: {name} is not sound",
                expected="no NaN",
                received=f"{int(np.isnan(values).sum())} NaN of {values.size} numbers",
                fix="train the engine again",
            )


def _numbers(bundle: Bundle) -> Iterator[tuple[str, NDArray[Any]]]:
    """Every constant and table in a floating-point type, by name."""
    from onnx import numpy_helper

    arrays = [(t.name, numpy_helper.to_array(t)) for t in load(bundle).graph.initializer]
    for name, array in (*arrays, *bundle.tables.items()):
        if array.dtype.kind == "f":
            yield name, array


def _calibrated(bundle: Bundle, batches: Sequence[Tensors], _: str) -> Draft:
    from engines.compress.calibrated import int8

    return int8(bundle, batches)


def _has_vectors(bundle: Bundle) -> bool:
    return bool(vectors_of(bundle))


def _plain(bundle: Bundle) -> bool:
    return bundle.manifest.precision == "float32" and _has_vectors(bundle)


def _has_layers(bundle: Bundle) -> bool:
    return any(True for _ in layers(load(bundle).graph))


STEPS = {
    "fp16": Step(lambda bundle, *_: half(bundle), "float32, and items as vectors", _plain),
    "int8": Step(_calibrated, "float32, and items as vectors", _plain),
    "int8-weights": Step(
        lambda bundle, *_: int8_weights(bundle), "layers of a network in float32", _has_layers
    ),
    "int8-items": Step(
        lambda bundle, *_: int8_items(bundle), "items as vectors in float32", _has_vectors
    ),
    "product-items": Step(
        lambda bundle, _, value: product_items(bundle, int(value)),
        "items as vectors in float32",
        _has_vectors,
    ),
}
