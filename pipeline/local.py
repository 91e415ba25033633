"""The local broker with our topics on it: `headrace up`, `status`, `down`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from deploy.local import broker
from pipeline.topics import ensure_topics
from schemas.errors import SettingsError

if TYPE_CHECKING:
    from pipeline.config import Settings


def up(settings: Settings) -> dict[str, Any]:
    """Starts the broker unless it runs, and creates the topics that are missing.

    Returns:
        The broker's status and what `ensure_topics` did, as ``topics``.

    Raises:
        SettingsError: clients would look for another broker than the one to be started.
        BrokerError, FlinkError: it does not start.
        KafkaError: a topic that exists is not as it must be.
    """
    address = f"{settings.local.host}:{settings.local.port}"
    if settings.kafka.bootstrap_servers != address:
        raise SettingsError(
            "Clients would not talk to the local broker",
            expected=f"kafka.bootstrap_servers = {address}, as local.host and local.port say",
            received=settings.kafka.bootstrap_servers,
            fix="make them agree; for a broker elsewhere `headrace topics` makes the topics",
        )
    started = broker.start(settings.local, settings.run_dir)
    return asdict(started) | {"topics": ensure_topics(settings)}


def down(settings: Settings) -> dict[str, Any]:
    """Stops the broker; its data stay in ``run_dir``."""
    return asdict(broker.stop(settings.local, settings.run_dir))


def status(settings: Settings) -> dict[str, Any]:
    """Whether the broker runs."""
    return asdict(broker.status(settings.local, settings.run_dir))
