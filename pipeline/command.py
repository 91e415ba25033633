"""What all commands share: settings, ``--json``, and errors that a person can act on.

A command is a function ``(call, its own options) -> result``, a JSON-ready dict. Progress goes to
stderr; the result goes to stdout, as lines or, with ``--json``, as one last line of JSON.
"""

from __future__ import annotations

import inspect
import json
import signal
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import HeadraceError, SettingsError

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Settings
    from pipeline.layers import Problem

Result = dict[str, Any]
Body = Callable[..., Result]

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


class Call:
    """One call of a command.

    Attributes:
        as_json: the result is wanted as JSON.
        exit_code: 0 unless the command says otherwise.
        shown: parts of the result that were shown already; only JSON has them again.
    """

    def __init__(self, config: Path | None, assignments: list[str], as_json: bool) -> None:
        self.as_json = as_json
        self.exit_code = 0
        self.shown: set[str] = set()
        self._config = config
        self._assignments = assignments

    @cached_property
    def settings(self) -> Settings:
        from pipeline.config import load_settings

        return load_settings(self._config, self._flags())

    def problems(self) -> list[Problem]:
        from pipeline.config import check_settings

        return check_settings(self._config, self._flags())[1]

    @cached_property
    def console(self) -> Console:
        """For progress, on stderr."""
        from rich.console import Console

        return Console(stderr=True)

    def _flags(self) -> dict[str, object]:
        pairs = [text.partition("=") for text in self._assignments]
        if malformed := ["".join(pair) for pair in pairs if not pair[1]]:
            raise SettingsError(
                "A --set cannot be read",
                expected="NAME=VALUE, such as --set kafka.partitions=8",
                received=malformed[0],
                fix="write it with =; `headrace settings` lists the names",
            )
        return {name.strip(): value.strip() for name, _, value in pairs}


_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_SHARED = [
    inspect.Parameter("config", _KEYWORD, default=None, annotation=Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings file. [default: headrace.toml]")
    ]),
    inspect.Parameter("assignments", _KEYWORD, default=[], annotation=Annotated[
        list[str], typer.Option("--set", metavar="NAME=VALUE", help="Any setting; repeatable.")
    ]),
    inspect.Parameter("as_json", _KEYWORD, default=False, annotation=Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on the last line.")
    ]),
]  # fmt: skip


def register(app: typer.Typer, body: Body) -> Body:
    """Adds a command to the app, with the shared options behind its own."""
    own = list(inspect.signature(body, eval_str=True).parameters.values())[1:]
    parameters = [*(p.replace(kind=_KEYWORD) for p in own), *_SHARED]

    def invoke(**given: Any) -> None:
        call = Call(*(given.pop(shared.name) for shared in _SHARED))
        # As Ctrl-C: what a command started, it stops on its way out.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        try:
            result = body(call, **given)
        except HeadraceError as error:
            _report(error, call.as_json)
            raise typer.Exit(error.exit_code) from error
        except BrokenPipeError:  # The reader has enough; Click ends quietly.
            raise
        except OSError as error:
            _report(_refused(error), call.as_json)
            raise typer.Exit(HeadraceError.exit_code) from error
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        rest = {name: value for name, value in result.items() if name not in call.shown}
        typer.echo(_json(result) if call.as_json else "\n".join(_lines(rest)))
        raise typer.Exit(call.exit_code)

    # Typer reads a command's options from its signature.
    invoke.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    invoke.__annotations__ = {p.name: p.annotation for p in parameters}
    app.command(body.__name__.rstrip("_"), help=body.__doc__)(invoke)
    return body


def _refused(error: OSError) -> HeadraceError:
    """What the operating system did not let a command do, such as write into a folder."""
    return HeadraceError(
        "The operating system refused",
        expected="paths that can be read and written, and room for what is written",
        received=str(error) or type(error).__name__,
        fix=f"mend {error.filename or 'what it names'}; "
        "or set run_dir or engine.store to another folder, if it lies there",
    )


def _json(value: object) -> str:
    """One line of JSON; NaN is none, and raises ValueError."""
    return json.dumps(value, allow_nan=False)


def _report(error: HeadraceError, as_json: bool) -> None:
    typer.secho(f"error: {error}", err=True, fg="red")
    if as_json:
        typer.echo(_json(error.as_dict()))


def _lines(result: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """``name = value`` lines, dotted where the result is nested; text of many lines as it is."""
    for name, value in result.items():
        if isinstance(value, dict):
            yield from _lines(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, one in enumerate(value, start=1):
                yield from _lines(one, f"{prefix}{name}.{number}.")
        elif isinstance(value, str) and "\n" in value:
            yield value
        else:
            yield f"{prefix}{name} = {value if isinstance(value, str) else json.dumps(value)}"
