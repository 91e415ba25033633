"""Settings: ``headrace.toml``, then the environment, then flags; later ones win.

    headrace.toml                    [kafka] partitions = 8
    environment                      HEADRACE_KAFKA__PARTITIONS=8
    flags (``--set``)                kafka.partitions=8

Settings are frozen, refuse unknown names and are checked against each other. This is the only
module that reads the environment. Units stand in the names: ``_ms``, ``_bytes``, ``_mb``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo

from pipeline.engine_sections import EngineSettings, GateSettings, SwapSettings, TrainSettings
from pipeline.fields import FilePath, Section
from pipeline.layers import Given, Problem, env_name, read_layers
from pipeline.sections import (
    ClusterSettings,
    DecodeSettings,
    JobSettings,
    KafkaSettings,
    LocalSettings,
    ProfileSettings,
    RegistrySettings,
)
from pipeline.security import missing_files
from schemas.errors import SettingsError

DEFAULT_FILE = Path("headrace.toml")
DOWNTIME_MS = 300_000
"""What an exactly-once job is given to come back after a failure before Kafka drops its work."""


class Settings(Section):
    """All settings. Build one with `load_settings`."""

    run_dir: FilePath = Field(
        default=Path(".headrace"),
        description="Folder of broker data, logs, checkpoints and progress.",
    )
    kafka: KafkaSettings = KafkaSettings()
    local: LocalSettings = LocalSettings()
    cluster: ClusterSettings = ClusterSettings()
    registry: RegistrySettings = RegistrySettings()
    decode: DecodeSettings = DecodeSettings()
    profile: ProfileSettings = ProfileSettings()
    job: JobSettings = JobSettings()
    engine: EngineSettings = EngineSettings()
    swap: SwapSettings = SwapSettings()
    train: TrainSettings = TrainSettings()
    gate: GateSettings = GateSettings()

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        if problems := list(_disagreements(self)):
            raise _DisagreementError(problems)
        return self

    def as_dict(self) -> dict[str, Any]:
        """All settings, JSON-ready, secrets as asterisks."""
        return self.model_dump(mode="json")


class _DisagreementError(ValueError):
    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{p.setting}: expected {p.expected}" for p in problems))
        self.problems = problems


def _disagreements(s: Settings) -> Iterator[Problem]:
    """Settings that are well-formed one by one but not together."""
    topics = [s.kafka.events_topic, s.kafka.control_topic, s.kafka.recommendations_topic]
    topics += [s.kafka.dead_letters_topic, *filter(None, [s.kafka.audit_topic])]
    if len(set(topics)) < len(topics):
        yield Problem(
            "kafka.events_topic",
            "five topics with five names",
            ", ".join(topics),
            "give each kafka.*_topic a name of its own",
        )
    if s.local.port == s.local.controller_port:
        yield Problem(
            "local.controller_port",
            "another port than local.port",
            str(s.local.port),
            "add one to either",
        )
    if s.cluster.gpu and s.cluster.slots != 1:
        yield Problem(
            "cluster.slots",
            "1 with cluster.gpu: each slot has a Python process, with an engine of its own on the "
            "same GPU",
            str(s.cluster.slots),
            "cluster.slots = 1, and a TaskManager for each GPU",
        )
    if s.profile.expire_after_ms < s.profile.allowed_lateness_ms:
        yield Problem(
            "profile.expire_after_ms",
            f"at least {s.profile.allowed_lateness_ms}, profile.allowed_lateness_ms: "
            "a profile takes late events in for as long as it lives",
            str(s.profile.expire_after_ms),
            f"profile.expire_after_ms = {s.profile.allowed_lateness_ms}, or less lateness",
        )
    needed_ms = s.job.checkpoint_interval_ms + DOWNTIME_MS
    if s.job.delivery == "exactly-once" and s.job.transaction_timeout_ms < needed_ms:
        yield Problem(
            "job.transaction_timeout_ms",
            f"at least {needed_ms}: job.checkpoint_interval_ms and {DOWNTIME_MS} ms of downtime; "
            "with less Kafka aborts finished lists while the job restarts, and they are lost",
            str(s.job.transaction_timeout_ms),
            f"job.transaction_timeout_ms = {needed_ms}, or checkpoints more often",
        )
    yield from _missing_sasl(s.kafka)
    yield from missing_files(s.kafka)
    yield from _missing_registry(s.registry)
    yield from _too_few_users(s.gate)


def _missing_sasl(kafka: KafkaSettings) -> Iterator[Problem]:
    wanted = kafka.security_protocol.startswith("SASL_")
    for name in ("sasl_mechanism", "sasl_username", "sasl_password"):
        given = bool(getattr(kafka, name))
        if wanted != given:
            yield Problem(
                f"kafka.{name}",
                f"{'a value' if wanted else 'no value'} with {kafka.security_protocol}",
                "a value" if given else "none",
                f"{'set' if wanted else 'remove'} kafka.{name}, or change kafka.security_protocol",
            )


def _missing_registry(registry: RegistrySettings) -> Iterator[Problem]:
    if registry.framing == "confluent" and not registry.url:
        yield Problem(
            "registry.url",
            "the address of a registry, with registry.framing = confluent",
            "none",
            'set it, or registry.framing = "single-object"',
        )
    for name, other in (("username", "password"), ("password", "username")):
        if getattr(registry, name) and not getattr(registry, other):
            yield Problem(
                f"registry.{other}",
                f"a value with registry.{name}",
                "none",
                f"set registry.{other}, or remove registry.{name}",
            )


def _too_few_users(gate: GateSettings) -> Iterator[Problem]:
    if gate.users < gate.min_users:
        yield Problem(
            "gate.users",
            f"at least {gate.min_users}, gate.min_users: with fewer no engine ever passes",
            str(gate.users),
            f"gate.users = {gate.min_users}, or a lower gate.min_users",
        )


def known_settings() -> dict[str, object]:
    """Every setting's dotted name and default."""
    return {
        f"{section}.{name}" if section else name: field.default
        for section, name, field in iter_fields()
    }


def iter_fields() -> Iterator[tuple[str, str, FieldInfo]]:
    """Every setting as (section, name, field); the section of a top-level one is empty."""
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, Section):
            yield from ((name, inner, f) for inner, f in type(field.default).model_fields.items())
        else:
            yield "", name, field


def as_environment(settings: Settings) -> dict[str, str]:
    """Environment variables that give another process these settings; secrets are left out."""
    values: dict[str, object] = {}
    for section, name, _ in iter_fields():
        dotted = f"{section}.{name}" if section else name
        values[dotted] = getattr(getattr(settings, section) if section else settings, name)
    return {
        env_name(name): str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in values.items()
        if value is not None and not isinstance(value, SecretStr)
    }


def with_values(settings: Settings, values: Mapping[str, object]) -> Settings:
    """The settings with some values replaced, by dotted names; the values are trusted."""
    update: dict[str, Any] = {}
    for name, value in values.items():
        section, _, last = name.rpartition(".")
        if section:
            update[section] = update.get(section, getattr(settings, section)).model_copy(
                update={last: value}
            )
        else:
            update[last] = value
    return settings.model_copy(update=update)


def load_settings(
    file: Path | None = None,
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings in force.

    Args:
        file: a TOML file; None: ``headrace.toml`` in the working folder, if there is one.
        flags: dotted names and values, such as ``{"kafka.partitions": 8}``; None is "not given".
        environ: environment variables; None: those of this process.

    Raises:
        SettingsError: names the first problem; `check_settings` tells all of them.
    """
    settings, problems = check_settings(file, flags, environ)
    if settings is not None:
        return settings
    first, *more = problems
    also = f" ({len(more)} more: `headrace validate` lists all)" if more else ""
    raise SettingsError(
        f"{first.setting} is wrong{also}",
        expected=first.expected,
        received=first.received,
        fix=first.fix,
    )


def check_settings(
    file: Path | None = None,
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Settings | None, list[Problem]]:
    """Settings if all is well, else None with every problem; arguments as in `load_settings`."""
    environ = os.environ if environ is None else environ
    if file is None and DEFAULT_FILE.exists():
        file = DEFAULT_FILE
    given, problems = read_layers(file, environ, flags or {}, known_settings())
    context = {"environ": environ}
    try:
        settings = Settings.model_validate(_nested(given), context=context)
    except ValidationError as error:
        problems += _problems(error, given)
        problems += _problems_of_the_rest(given, {p.setting for p in problems}, context)
        return None, problems
    return (None if problems else settings), problems


def _nested(given: Mapping[str, Given]) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    for name, one in given.items():
        section, _, last = name.rpartition(".")
        (tables.setdefault(section, {}) if section else tables)[last] = one.value
    return tables


def _problems(error: ValidationError, given: Mapping[str, Given]) -> Iterator[Problem]:
    for detail in error.errors():
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, _DisagreementError):
            yield from cause.problems
            continue
        name = ".".join(str(part) for part in detail["loc"])
        secret = name in ("kafka.sasl_password", "registry.password")
        expected = str(cause) if cause else detail["msg"].removeprefix("Input should be ")
        yield Problem(
            name,
            expected,
            "a value not shown" if secret else repr(detail["input"]),
            f"change {name} in {given[name].origin}",
        )


def _problems_of_the_rest(
    given: Mapping[str, Given], bad: Iterable[str], context: dict[str, Any]
) -> list[Problem]:
    """Disagreements among the well-formed settings, leaving out those with a malformed one."""
    rest = {name: one for name, one in given.items() if name not in bad}
    try:
        Settings.model_validate(_nested(rest), context=context)
    except ValidationError as error:
        return [p for p in _problems(error, given) if p.setting not in bad]
    return []
