"""The PyTorch module that an engine was exported from, found again in its bundle."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from engines.bundle import Bundle
from schemas.errors import EngineError

if TYPE_CHECKING:
    from torch import nn


def _blend(bundle: Bundle) -> nn.Module:
    from engines.models import blend

    return blend.of_bundle(bundle).lister(bundle.manifest.k)


def _content(bundle: Bundle) -> nn.Module:
    from engines.models.content import ContentLister

    return ContentLister(bundle.manifest.k)


def _encoder(bundle: Bundle) -> nn.Module:
    from engines.models import encoder

    return encoder.of_bundle(bundle)


def _sasrec(bundle: Bundle) -> nn.Module:
    from engines.models import sasrec

    return sasrec.of_bundle(bundle).lister(bundle.manifest.k)


MODULES: dict[str, Callable[[Bundle], nn.Module]] = {
    "blend": _blend,
    "content": _content,
    "encoder": _encoder,
    "sasrec": _sasrec,
}
"""By the manifest's ``model``."""


def module_of(bundle: Bundle) -> nn.Module:
    """What makes the lists of an engine, in evaluation mode; it takes inputs and tables by name.

    Raises:
        EngineError: its kind has no module, or a step of compression changed the graph alone.
    """
    manifest = bundle.manifest
    plain = manifest.precision == "float32" and "item_vectors" in bundle.tables
    if not plain or manifest.model not in MODULES:
        raise EngineError(
            f"{bundle.label} has no PyTorch module",
            expected=f"an engine of {', '.join(MODULES)} that was not compressed",
            received=f"{manifest.model}, {manifest.precision}",
            fix=f"take its parent {manifest.parent}" if manifest.parent else "take another engine",
        )
    return MODULES[manifest.model](bundle).eval()
