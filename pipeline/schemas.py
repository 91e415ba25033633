"""`headrace schemas`: our schemas and those of the registry, held against each other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.framing import subjects
from pipeline.schema_registry import COMPATIBILITY, Registered, SchemaRegistry
from schemas.compatibility import require_compatible, require_readable
from schemas.errors import SchemaError, SettingsError
from schemas.lint import lint
from schemas.schema import Schema, versions

if TYPE_CHECKING:
    from pipeline.config import Settings


def check(settings: Settings) -> dict[str, Any]:
    """Holds every kept version against every other, and against those of the registry if it is set.

    Returns:
        ``compatible``; ``schemas``: of each its ``name``, ``kept`` versions and, with a registry,
        ``subject``, ``registered`` versions and those of ours ``not_registered``; ``problems``,
        one line each.

    Raises:
        RegistryError: no answer, or a refusal.
    """
    registry = SchemaRegistry(settings.registry) if settings.registry.url else None
    told, problems = [], []
    for name, subject in subjects(settings).items():
        kept = versions(name)
        problems += _problems(kept)
        one: dict[str, Any] = {"name": name, "kept": [schema.version for schema in kept]}
        if registry:
            found = registry.versions(subject)
            problems += [line for version in found for line in _foreign_problems(version, kept)]
            one |= {
                "subject": subject,
                "registered": [version.version for version in found],
                "not_registered": [s.version for s in kept if s.canonical not in _forms(found)],
            }
        told.append(one)
    return {"compatible": not problems, "schemas": told, "problems": problems}


def register(settings: Settings) -> dict[str, Any]:
    """Registers every kept version, oldest first, each under ``<topic>-value``.

    The registry is told to keep the subjects compatible, so that it refuses a producer's version
    that we could not read.

    Returns:
        ``compatibility``, the rule; ``subjects``: of each the ids by version.

    Raises:
        SettingsError: no registry is set.
        SchemaError: what is registered already does not go with ours; nothing was changed.
        RegistryError: no answer, or a refusal.
    """
    if not settings.registry.url:
        raise SettingsError(
            "No schema registry is set",
            expected="its address in registry.url",
            received="none",
            fix="--set registry.url=http://HOST:PORT/apis/ccompat/v7, or as yours has it",
        )
    if problems := check(settings)["problems"]:
        raise SchemaError(
            "Our schemas do not go with what is registered",
            expected="versions that read each other under every subject",
            received="; ".join(problems),
            fix="give the topic another name if its subject belongs to something else; "
            "or remove the version from the registry, if nothing was written in it",
        )
    registry = SchemaRegistry(settings.registry)
    told = {}
    for name, subject in subjects(settings).items():
        registry.keep_compatible(subject)
        told[subject] = {
            f"v{schema.version}": registry.register(subject, json.dumps(schema.source))
            for schema in versions(name)
        }
    return {"compatibility": COMPATIBILITY, "subjects": told}


def _problems(schemas: Sequence[Schema]) -> list[str]:
    try:
        for schema in schemas:
            lint(schema.source, schema.name)
        require_compatible(schemas)
    except SchemaError as error:
        return [f"{error.message}: {error.received}"]
    return []


def _foreign_problems(version: Registered, kept: Sequence[Schema]) -> Iterator[str]:
    """What is against a registered version: each of ours must read it, and it each of ours."""
    where = f"{version.subject} version {version.version} (id {version.schema_id})"
    try:
        theirs = Schema.parse(version.subject, version.version, version.text)
        lint(theirs.source, "it")
    except SchemaError as error:
        yield f"{where}: {error.message}: {error.received}"
        return
    if theirs.canonical in {schema.canonical for schema in kept}:
        return
    for ours in kept:
        number = ours.version
        yield from _unread(f"{where}: our version {number} cannot read it", ours, theirs)
        yield from _unread(f"{where}: it cannot read our version {number}", theirs, ours)


def _unread(problem: str, reader: Schema, writer: Schema) -> Iterator[str]:
    try:
        require_readable(reader, writer)
    except SchemaError as error:
        yield f"{problem}: {error.received}"


def _forms(found: Sequence[Registered]) -> set[str]:
    """Canonical forms of the registered versions that are Avro schemas."""
    forms = set()
    for version in found:
        try:
            forms.add(Schema.parse(version.subject, version.version, version.text).canonical)
        except SchemaError:
            continue  # named among the problems
    return forms
