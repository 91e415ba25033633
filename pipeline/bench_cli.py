"""`headrace bench`: one command per line of work, no logic."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Annotated

import typer

from pipeline.command import Call, Result, register
from schemas.errors import SettingsError

bench = typer.Typer(help="Measure the whole path on this machine.", no_args_is_help=True)
command = partial(register, bench)


def to_numbers(option: str, text: str) -> list[int]:
    """Whole numbers above 0 as a user writes them, such as "1,64"."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise SettingsError(
            f"{option} cannot be read",
            expected="whole numbers above 0, separated by commas",
            received=text,
            fix=f"write it as in {option} 1,64,512",
        )
    return [int(part) for part in parts]


def to_names(option: str, text: str, known: Collection[str]) -> list[str]:
    """Names as a user writes them, such as "onnx,torch", all of them known."""
    names = [part.strip() for part in text.split(",")]
    if unknown := [name for name in names if name not in known]:
        raise SettingsError(
            f"{option} names what there is not",
            expected=f"of {', '.join(known)}, separated by commas",
            received=unknown[0] or "nothing",
            fix="choose of these",
        )
    return list(dict.fromkeys(names))


Repeats = Annotated[int, typer.Option(min=1, help="Measure so often and give medians.")]


@command
def throughput(
    call: Call,
    events: Annotated[int, typer.Option(min=1000, help="Events in Kafka.")] = 2_000_000,
    skew: Annotated[
        float, typer.Option(min=0.0, help="Exponent of Zipf's law by which users act; 0: alike.")
    ] = 0.0,
    users: Annotated[int, typer.Option(min=1, help="How many users.")] = 20_000,
    repeats: Repeats = 3,
) -> Result:
    """Measure how many lists a second the job makes of events that lie ready.

    Example: headrace bench throughput --events 300000 --json
    """
    from pipeline.bench.throughput import throughput

    call.shown |= {"runs", "job"}
    return throughput(call.settings, events, call.console, skew=skew, users=users, repeats=repeats)


@command
def freshness(
    call: Call,
    rate: Annotated[float, typer.Option(min=1.0, help="Events per second.")] = 1000.0,
    seconds: Annotated[float, typer.Option(min=5.0, help="Length of a play.")] = 30.0,
    repeats: Repeats = 3,
) -> Result:
    """Measure the time from an event's due time to its list on the topic.

    Example: headrace bench freshness --rate 1000 --json
    """
    from pipeline.bench.freshness import freshness
    from pipeline.bench.report import print_histogram

    call.shown |= {"runs", "job", "histogram"}
    found = freshness(call.settings, rate, seconds, call.console, repeats=repeats)
    print_histogram(found["histogram"], call.console)
    return found


@command
def soak(
    call: Call,
    rate: Annotated[float, typer.Option(min=1.0, help="Events per second.")],
    minutes: Annotated[float, typer.Option(min=0.1, help="Length of the play.")] = 30.0,
) -> Result:
    """Work at a steady rate for a long time; exit status 1 if lag or memory grow.

    Example: headrace bench soak --rate 7000 --minutes 30
    """
    from pipeline.bench.soak import soak

    call.shown.add("job")
    found = soak(call.settings, rate, minutes, call.console)
    call.exit_code = int(found["growing"])
    return found


@command
def engine(
    call: Call,
    engines: Annotated[
        list[str] | None,
        typer.Argument(help="NAME or NAME@VERSION. [default: made-up ones]"),
    ] = None,
    items: Annotated[
        str, typer.Option(help="Items of made-up engines, separated by commas.")
    ] = "12000",
    batch: Annotated[
        str, typer.Option(help="How many users are ranked at once, separated by commas.")
    ] = "1,64,512",
    threads: Annotated[str, typer.Option(help="Of one call, separated by commas.")] = "1",
    runtime: Annotated[
        str,
        typer.Option(
            help="What runs them, separated by commas: onnx, onnx-cuda, torch, torch-compiled, "
            "tensorrt, tensorrt-no-graphs. Lists are compared with the first one's. "
            "[default: as engine.backend has it]"
        ),
    ] = "",
    model: Annotated[
        str, typer.Option(help="Made-up engines, separated by commas; encoder: as large as BERT.")
    ] = "cooccurrence,sasrec,blend",
    precision: Annotated[
        str, typer.Option(help="Of made-up engines, separated by commas: fp32, fp16, int8.")
    ] = "fp32",
) -> Result:
    """Measure how long engines take for a batch of users, without Kafka and Flink.

    Made-up engines have the batch for their shape, and are given a plan of TensorRT where that is
    to run them; those of the store keep their own shape, filled up or looped over. A runtime of
    several that cannot run an engine here has a row that says why.

    Example: headrace bench engine --runtime torch,onnx,tensorrt --model sasrec --batch 1,64 --json

    Example: headrace bench engine sasrec@1 sasrec@2 --batch 1,32 --threads 1,2 --json
    """
    from pipeline.bench import candidates, made_up, report, runtimes
    from pipeline.bench.engine import Grid, engine

    grid = Grid(
        users_at_once=to_numbers("--batch", batch),
        threads=to_numbers("--threads", threads),
        runtimes=to_names("--runtime", runtime or call.settings.engine.backend, runtimes.RUNTIMES),
        items=to_numbers("--items", items),
        models=to_names("--model", model, made_up.KINDS),
        precisions=to_names("--precision", precision, candidates.PRECISIONS),
    )
    found = engine(call.settings, engines or [], grid, call.console)
    if not call.as_json:
        call.shown.add("engines")
        report.print_engines(found["engines"])
    return found
