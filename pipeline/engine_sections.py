"""The sections of the settings that are about engines; see ``sections``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.fields import FilePath, Section


class EngineSettings(Section):
    """The ranking engine."""

    store: FilePath = Field(default=Path("engines/store"), description="Folder of engine bundles.")
    threads: int = Field(default=1, ge=1, le=256, description="Threads per engine call.")
    backend: Literal["auto", "onnx", "tensorrt"] = Field(
        default="auto",
        description="What runs an engine: onnx, on the CPU; tensorrt, on the GPU; auto: TensorRT "
        "where there are a GPU and a plan for it, and else ONNX Runtime.",
    )


class SwapSettings(Section):
    """How a running job takes an engine that was activated since."""

    shadow_batches: int = Field(
        default=20, ge=1, description="Batches that it ranks beside the old one before it is taken."
    )
    min_overlap: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Mean share of items that its lists must have in common with the old one's.",
    )
    max_latency_ms: float = Field(
        default=100.0,
        gt=0,
        le=3_600_000,
        description="Longest median time of a full batch, unless the old engine is as slow.",
    )
    max_latency_ratio: float = Field(
        default=4.0,
        gt=0,
        description="How many times as long as the old one it may take, even if that is longer.",
    )
    probation_s: float = Field(
        default=60.0, ge=0, description="How long the old one is kept to fall back to."
    )


class TrainSettings(Section):
    """How models are fitted."""

    seed: int = Field(
        default=7,
        ge=0,
        le=2**32 - 1,
        description="Same seed, log, machine and number of threads: same engine.",
    )
    leave_out_users: str = Field(
        default="canary-*,test-*",
        description="Users whose events teach nothing: patterns of ids, separated by commas.",
    )

    batch: int = Field(
        default=32,
        ge=1,
        le=4_096,
        description="Users that an engine ranks at once, always: fewer are filled up.",
    )
    epochs: int = Field(
        default=20, ge=1, le=10_000, description="Most epochs of a sequence network."
    )
    patience: int = Field(
        default=5, ge=1, description="Epochs without a better validation after which a fit ends."
    )
    learning_rate: float = Field(
        default=3e-3, gt=0, le=1, description="Highest learning rate of a sequence network."
    )
    width: int = Field(
        default=64,
        ge=2,
        le=4_096,
        multiple_of=2,
        description="Width of a sequence network and of its item vectors.",
    )
    blocks: int = Field(
        default=1, ge=1, le=64, description="Attention blocks of a sequence network."
    )
    dropout: float = Field(
        default=0.4, ge=0, lt=1, description="Share of the numbers that training sets to 0."
    )
    text_encoder: Literal["", "minilm"] = Field(
        default="",
        description="minilm: titles also count as sentences, by all-MiniLM-L6-v2 (extra text); "
        "empty: only their words do.",
    )
    click_weight: float = Field(
        default=1.0, ge=0, description="How much being clicked counts when candidates are ranked."
    )
    cart_weight: float = Field(
        default=1.0, ge=0, description="How much being put into the cart counts there."
    )
    purchase_weight: float = Field(
        default=1.0, ge=0, description="How much being bought counts there."
    )

    @property
    def user_patterns(self) -> list[str]:
        """The patterns of ``leave_out_users``."""
        return [pattern.strip() for pattern in self.leave_out_users.split(",") if pattern.strip()]


class GateSettings(Section):
    """What an engine must be like to take the active one's place."""

    users: int = Field(
        default=2_000,
        ge=1,
        le=100_000,
        description="Held-out users that both engines rank for, drawn by chance if there are more.",
    )
    seed: int = Field(
        default=7, ge=0, le=2**32 - 1, description="Same seed and log: same users, same intervals."
    )
    batches: int = Field(
        default=200, ge=1, le=100_000, description="Full batches of each engine that are timed."
    )
    min_users: int = Field(
        default=100, ge=1, description="Fewer users than this prove nothing: no pass."
    )
    min_overlap: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Least mean share of a list that is in the active engine's list too. 0: any, "
        "as a better model lists other items; for one that was only compressed say 0.9.",
    )
    max_ndcg_drop: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="A drop of NDCG by more than this share of the active engine's fails, if it is "
        "beyond chance: if the whole 95 % interval of the difference shows it.",
    )
    min_coverage_ratio: float = Field(
        default=0.75,
        ge=0,
        description="Least number of different items listed, for one that the active engine lists.",
    )
    max_provider_shift: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Largest share of the exposure that may go to other providers.",
    )
    max_decile_shift: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="Largest share of the exposure that may go to items of other popularity: to "
        "other tenths of all events, or to new items.",
    )
    max_latency_ms: float = Field(
        default=50.0,
        gt=0,
        le=3_600_000,
        description="Longest median time of a full batch, unless the active engine is as slow.",
    )
    max_latency_ratio: float = Field(
        default=2.0,
        gt=0,
        description="How many times as long as the active one it may take, even if that is longer.",
    )
