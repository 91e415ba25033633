"""A schema registry with Confluent's interface, asked over HTTP.

Plain urllib: Confluent's own client wants five more packages (authlib, httpx, cachetools, attrs,
typing-extensions) for the four requests made here.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.fields import ReferredSecret
from pipeline.sections import RegistrySettings
from schemas.errors import RegistryError, SettingsError

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
NO_SUBJECT = 40401
NO_SCHEMA = 40403
HIGHEST_ID = 2**31 - 1
ANSWER_LIMIT_BYTES = 1 << 20
COMPATIBILITY = "FULL_TRANSITIVE"
"""Every version reads every other, which is what `schemas.compatibility` holds ours to."""


@dataclass(frozen=True)
class Registered:
    """One version under a subject."""

    subject: str
    version: int
    schema_id: int
    text: str


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The login is for the address in the settings alone."""

    def redirect_request(self, *_: Any) -> None:
        return None


class SchemaRegistry:
    """The registry of the settings; ``settings.url`` must be given.

    Every method raises RegistryError if there is no answer or it is a refusal.
    """

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        # No proxy of the environment: the job, which is Java, takes none either.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())

    def schema(self, schema_id: int) -> str | None:
        """The schema with this id; None if there is none."""
        if schema_id > HIGHEST_ID:
            return None
        answer = self._ask("GET", f"/schemas/ids/{schema_id}", absent=NO_SCHEMA)
        return None if answer is None else str(answer["schema"])

    def versions(self, subject: str) -> list[Registered]:
        """Every version under a subject, oldest first; none if there is no such subject."""
        path = f"/subjects/{quote(subject, safe='')}/versions"
        numbers = self._ask("GET", path, absent=NO_SUBJECT) or []
        answers = [self._ask("GET", f"{path}/{number}") for number in numbers]
        return [Registered(subject, a["version"], a["id"], a["schema"]) for a in answers]

    def register(self, subject: str, text: str) -> int:
        """The id of a schema under a subject, which is given one if it has none."""
        path = f"/subjects/{quote(subject, safe='')}/versions"
        return int(self._ask("POST", path, {"schema": text})["id"])

    def keep_compatible(self, subject: str) -> None:
        """From now on the registry refuses versions that cannot read each other."""
        self._ask("PUT", f"/config/{quote(subject, safe='')}", {"compatibility": COMPATIBILITY})

    def _ask(
        self, method: str, path: str, body: dict[str, str] | None = None, *, absent: int = 0
    ) -> Any:
        """The answer; None if it is a 404 with the registry's error code ``absent``."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - the settings allow http and https
            self._settings.url + path, data, self._headers(), method=method
        )
        try:
            with self._opener.open(request, timeout=self._settings.answer_ms / 1000) as reply:
                return json.loads(reply.read(ANSWER_LIMIT_BYTES))
        except urllib.error.HTTPError as error:
            code, told = _told(error)
            if absent and code == absent:
                return None
            raise self._refused(f"{method} {path}: {error.code} {told}", error) from error
        except (OSError, HTTPException, ValueError) as error:
            raise self._refused(str(error) or type(error).__name__, error) from error

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE}
        if self._settings.password:
            password = self._settings.password.get_secret_value()
            login = f"{self._settings.username}:{password}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
        return headers

    def _refused(self, received: str, error: Exception) -> RegistryError:
        status = getattr(error, "code", 0)
        fixes = {
            401: "mend registry.username and registry.password",
            403: "grant registry.username what it asked for",
            409: "make the schema compatible: only fields with a default, symbols at the end",
        }
        return RegistryError(
            "The schema registry refused" if status else "The schema registry does not answer",
            expected=f"Confluent's interface at {self._settings.url}",
            received=received,
            fix=fixes.get(status, "see that it runs, and mend registry.url"),
        )


def _told(error: urllib.error.HTTPError) -> tuple[int, str]:
    """The registry's own error code, 0 without, and what it says."""
    try:
        told = json.loads(error.read(ANSWER_LIMIT_BYTES))
        return int(told["error_code"]), str(told["message"])[:500]
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return 0, error.reason  # the page of some other server


def password_reference(settings: RegistrySettings) -> str:
    """Where the password is, for the job's tasks to read it themselves; empty if there is none.

    Raises:
        SettingsError: it is not in a file.
    """
    secret = settings.password
    if secret is None:
        return ""
    if not (isinstance(secret, ReferredSecret) and secret.kind == "file"):
        raise SettingsError(
            "registry.password cannot be handed to Flink",
            expected="${file:PATH}, for Flink logs the environment of its Python part",
            received="${env:NAME}",
            fix="write the password to a file that only you and Flink can read",
        )
    return f"${{file:{Path(secret.name).expanduser().absolute()}}}"
