"""The fitted parameters of an engine, as its bundle carries them for those who go on from there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, TypeVar

from engines.bundle import Bundle
from engines.models.plan import Shape
from schemas.errors import EngineError

if TYPE_CHECKING:
    from torch import nn

M = TypeVar("M", bound="nn.Module")


def restored(bundle: Bundle, kind: str, make: Callable[[Shape], M]) -> M:
    """The module that the weights of a bundle are of, ready to be asked.

    Args:
        kind: the model that the bundle must be of.
        make: such a module, around a sequence network of a shape.

    Raises:
        EngineError: it is of another kind, or its weights do not fit its parameters.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    manifest = bundle.manifest
    if manifest.model != kind:
        raise _refusal(bundle, kind, "")
    try:
        values = {field.name: manifest.parameters[field.name] for field in fields(Shape)}
        module = make(Shape(**values))  # type: ignore[arg-type]
        module.load_state_dict(load(bundle.weights))
    except (KeyError, RuntimeError, SafetensorError) as error:
        raise _refusal(bundle, kind, f": {str(error).splitlines()[0]}") from error
    return module.eval()


def _refusal(bundle: Bundle, kind: str, why: str) -> EngineError:
    return EngineError(
        f"the weights of {bundle.label} cannot be taken up",
        expected=f"an engine of `headrace train {kind}`, with its weights",
        received=f"a {bundle.manifest.model} engine{why}",
        fix="name another engine, such as its parent, or train one",
    )
