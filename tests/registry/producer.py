"""A producer of somebody else, with a schema of its own under the events topic's subject."""

from __future__ import annotations

import json
from copy import deepcopy
from io import BytesIO
from typing import Any

import fastavro

from pipeline.config import Settings, load_settings
from pipeline.framing import subjects
from pipeline.schema_registry import SchemaRegistry
from schemas import codec
from schemas.schema import Schema

OURS: dict[str, Any] = dict(codec.load("user_event").source)


def settings_of(url: str, prefix: str, **more: object) -> Settings:
    """Settings with a registry, and topics whose subjects are this prefix's own."""
    topics = ("events", "control", "recommendations", "dead_letters")
    own = {f"kafka.{topic}_topic": f"{prefix}-{topic}" for topic in topics}
    return load_settings(flags={**own, "registry.url": url, **more}, environ={})


def evolved() -> dict[str, Any]:
    """A field more, with a default; one of ours less; an event type that we do not know."""
    schema = deepcopy(OURS)
    fields = {field["name"]: field for field in schema["fields"]}
    fields["event_type"]["type"]["symbols"].append("wish")
    del fields["surface"]
    device = {"name": "device", "type": "string", "default": ""}
    return {**schema, "fields": [device, *fields.values()]}


def changed(field_name: str, **new: Any) -> dict[str, Any]:
    """Ours with another definition of one field."""
    schema = deepcopy(OURS)
    next(field for field in schema["fields"] if field["name"] == field_name).update(new)
    return schema


def with_field(kind: Any, default: Any) -> dict[str, Any]:
    return {**OURS, "fields": [*OURS["fields"], {"name": "x", "type": kind, "default": default}]}


def registered(settings: Settings, schema: object, name: str = "user_event") -> int:
    """Its id, registered past all of our checks."""
    registry = SchemaRegistry(settings.registry)
    return registry.register(subjects(settings)[name], json.dumps(schema))


def written(schema_id: int, schema: dict[str, Any], record: dict[str, object]) -> bytes:
    """The record in Confluent's framing."""
    buffer = BytesIO()
    parsed = Schema.parse("theirs", schema_id, json.dumps(schema)).parsed
    fastavro.schemaless_writer(buffer, parsed, record)
    return codec.confluent_header(schema_id) + buffer.getvalue()
