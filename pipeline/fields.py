"""What the sections of the settings are built of: kinds of fields, secrets, the section itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationInfo

_SECRET = re.compile(r"\$\{(env|file):(.+)\}")


class ReferredSecret(SecretStr):
    """A secret together with where it is: ``${env:NAME}`` or ``${file:PATH}``.

    The reference, which is no secret, is what other processes are given.
    """

    def __init__(self, value: str, kind: str, name: str) -> None:
        super().__init__(value)
        self.kind = kind
        self.name = name


def _resolve_secret(value: object, info: ValidationInfo) -> object:
    """Reads ``${env:NAME}`` or ``${file:PATH}``; a secret never stands in a file or a flag."""
    if value is None or value == "" or isinstance(value, SecretStr):
        return value or None
    reference = _SECRET.fullmatch(value) if isinstance(value, str) else None
    if reference is None:
        raise ValueError("${env:NAME} or ${file:PATH}; a secret itself is refused")
    kind, name = reference.groups()
    if kind == "env":
        environ = (info.context or {}).get("environ", {})
        if not environ.get(name):
            raise ValueError(f"environment variable {name} to be set and not empty")
        return ReferredSecret(environ[name], kind, name)
    try:
        text = Path(name).expanduser().read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeError) as error:
        raise ValueError(f"a readable file at {name}") from error
    return ReferredSecret(text, kind, name)


Secret = Annotated[SecretStr | None, BeforeValidator(_resolve_secret)]
TopicName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,248}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Millis = Annotated[int, Field(le=10**15)]
"""Milliseconds; the bound leaves sums of several within a signed 64-bit integer."""
FilePath = Annotated[Path, Field(strict=False)]


class Section(BaseModel):
    """A part of the settings: frozen, strict, and silent about values in its error messages."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, validate_default=True
    )
