"""How records are framed: which bytes stand before the Avro binary, and how they are read back.

With ``registry.framing = "confluent"`` what we write names a schema of the registry by its id;
both framings are read wherever a registry is set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.schema_registry import Registered, SchemaRegistry, password_reference
from schemas import codec
from schemas.compatibility import require_readable
from schemas.errors import CodecError, RegistryError, SchemaError
from schemas.lint import lint
from schemas.reasons import Reason
from schemas.schema import Schema

if TYPE_CHECKING:
    from pipeline.config import Settings


def subjects(settings: Settings) -> dict[str, str]:
    """The registry's subject of each schema: the topic's name and ``-value``."""
    kafka = settings.kafka
    topics = {
        "user_event": kafka.events_topic,
        "control": kafka.control_topic,
        "recommendation_list": kafka.recommendations_topic,
    }
    return {name: f"{topic}-value" for name, topic in topics.items()}


def header(settings: Settings, name: str) -> bytes:
    """What starts each record of schema ``name`` that we write.

    Raises:
        RegistryError: it is to be an id of the registry, and there is none, or no answer.
    """
    if settings.registry.framing == "single-object":
        return codec.header(name)
    ours = codec.load(name)
    subject = subjects(settings)[name]
    for version in reversed(SchemaRegistry(settings.registry).versions(subject)):
        if _is_written_as(version, ours):
            return codec.confluent_header(version.schema_id)
    raise RegistryError(
        "Our schema is not in the registry",
        expected=f"schemas/{name}.v{ours.version}.avsc under subject {subject}",
        received="no such version",
        fix="headrace schemas register",
    )


def encoder(settings: Settings, name: str) -> codec.Encoder:
    """Writes records of schema ``name``; errors as `header`."""
    return codec.Encoder(name, header(settings, name))


def decoder(settings: Settings, name: str) -> codec.Decoder:
    """Reads records of schema ``name`` in either framing, in single-object alone without registry.

    It raises RegistryError, too: when an id is met and the registry does not answer.
    """
    by_id = WritersById(settings, name) if settings.registry.url else None
    return codec.Decoder(codec.versions(name), by_id)


def job_parameters(settings: Settings) -> dict[str, object]:
    """What the job's decoders need to know of the registry; nothing without one."""
    registry = settings.registry
    if not registry.url:
        return {}
    found = subjects(settings)
    return {
        "registry.url": registry.url,
        "registry.username": registry.username,
        "registry.password": password_reference(registry),
        "registry.answer_ms": registry.answer_ms,
        **{f"registry.subject.{name}": found[name] for name in ("user_event", "control")},
    }


class WritersById:
    """The writers' schemas by their ids in the registry, asked for once each."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._registry = SchemaRegistry(settings.registry)
        self._reader = codec.load(name)
        self._known: dict[int, Schema | None] = {}

    def __call__(self, schema_id: int) -> Schema:
        """CodecError if there is none, or it cannot be read as ours."""
        if schema_id not in self._known:
            text = self._registry.schema(schema_id)
            self._known[schema_id] = None if text is None else self._readable(schema_id, text)
        schema = self._known[schema_id]
        if schema is None:
            raise CodecError(
                f"the schema that the {self._reader.name} was written in is not known",
                reason=Reason.UNKNOWN_SCHEMA,
                expected="an id that the registry knows",
                received=str(schema_id),
                fix="look which program writes to the topic",
            )
        return schema

    def _readable(self, schema_id: int, text: str) -> Schema:
        try:
            schema = Schema.parse(self._reader.name, schema_id, text)
            lint(schema.source, f"schema {schema_id}")
            require_readable(self._reader, schema)
        except SchemaError as error:
            raise CodecError(
                f"schema {schema_id} of the registry cannot be read as {self._reader.name}",
                reason=Reason.INCOMPATIBLE_SCHEMA,
                expected=error.expected,
                received=f"{error.message}: {error.received}",
                fix="look which program writes to the topic",
            ) from error
        return schema


def _is_written_as(version: Registered, ours: Schema) -> bool:
    """Whether records in that version have the bytes that ours have."""
    try:
        return Schema.parse(ours.name, version.version, version.text).canonical == ours.canonical
    except SchemaError:
        return False
