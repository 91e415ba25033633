"""Engines: one command per line of work, no logic."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.command import Call, Result, register
from pipeline.log_options import Items, Kind, Log, Until, ValidateUntil, to_ms

engines = typer.Typer()
command = partial(register, engines)


@command
def train(
    call: Call,
    model: Annotated[
        str, typer.Argument(help="What to fit: cooccurrence, content, sasrec or blend.")
    ],
    kind: Kind,
    path: Log = None,
    until: Until = None,
    validate_until: ValidateUntil = None,
    name: Annotated[str, typer.Option(help="Name of the engine. [default: the model's]")] = "",
    items: Items = None,
) -> Result:
    """Fit an engine on an event log and add it to the store.

    What happens between --until and --validate-until judges the fit, and is learnt once that is
    done. A fit that was interrupted goes on where it was when the same command is given again.

    Example: headrace train cooccurrence --source retail online_retail.parquet --until 2010-11-01
    """
    from pipeline.train import train

    times = to_ms(until), to_ms(validate_until)
    return train(call.settings, model, kind, path, *times, name, items, call.console)


@command
def refresh(
    call: Call,
    engine: Annotated[str, typer.Argument(help="NAME, or NAME@VERSION.")],
    items: Items = None,
    available: Annotated[
        Path | None,
        typer.Option(help="Ids of the items that can be listed, one a line. [default: all]"),
    ] = None,
) -> Result:
    """Add a version of an engine with new items, or with others that can be listed.

    The model stays the same, byte for byte; only models whose items are tables can do it: content,
    sasrec and blend. A new item lies where the known ones lie that are most like it.

    Example: headrace refresh blend --items items.parquet --available in_stock.txt
    """
    from pipeline.refresh import refresh

    return refresh(call.settings, engine, items, available)


@command
def compress(
    call: Call,
    engine: Annotated[str, typer.Argument(help="NAME, or NAME@VERSION.")],
    path: Log = None,
    kind: Kind = "",
    fp16: Annotated[bool, typer.Option("--fp16", help="float16: half the bytes.")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="int8 with scales out of a log: for TensorRT.")
    ] = False,
    int8_weights: Annotated[
        bool, typer.Option("--int8-weights", help="int8 weights of the network.")
    ] = False,
    int8_items: Annotated[
        bool, typer.Option("--int8-items", help="int8 vectors of the items.")
    ] = False,
    product_items: Annotated[
        int,
        typer.Option(
            metavar="BYTES",
            min=0,
            help="Product quantisation: item vectors in so many bytes each, such as 32.",
            show_default=False,
        ),
    ] = 0,
    distill: Annotated[
        Literal["sasrec", "blend"] | None,
        typer.Option(
            help="A student of train.width: sasrec is taught by this one's lists, blend by its "
            "heads too.",
            show_default=False,
        ),
    ] = None,
    prune: Annotated[
        str,
        typer.Option(
            metavar="KEPT", help="Keep so many parts, such as blocks=1,heads=1,hidden=64."
        ),
    ] = "",
    sparsity: Annotated[
        float,
        typer.Option(
            min=0, max=0.99, help="Share of each matrix that becomes 0.", show_default=False
        ),
    ] = 0,
    two_of_four: Annotated[
        bool, typer.Option("--two-of-four", help="Two of each four weights become 0: for GPUs.")
    ] = False,
    items: Items = None,
) -> Result:
    """Add a version of an engine that is smaller by one step; the engine is its parent.

    What becomes of the lists is for `headrace gate` to say. Steps can follow each other. Numbers of
    fewer bits save bytes, and on the CPU no time: ONNX Runtime computes in float32. --int8
    calibrates with the histories of users in a log. --distill, --prune, --sparsity and
    --two-of-four fit on such a log, with the --items that the engine was trained with. These four
    and --product-items want the extra train.

    Example: headrace compress blend --int8-items

    Example: headrace compress sasrec@1 --product-items 32

    Example: headrace compress sasrec@1 --int8 --source sequences beauty.txt

    Example: headrace compress blend --distill sasrec --set train.width=32 --source otto log.jsonl
    """
    from pipeline.compress import compress

    flags = {"fp16": fp16, "int8": int8, "int8-weights": int8_weights, "int8-items": int8_items}
    flags |= {"two-of-four": two_of_four}
    steps = {step: "" for step, wanted in flags.items() if wanted}
    steps |= {"product-items": str(product_items)} if product_items else {}
    steps |= {"distill": distill} if distill else {}
    steps |= {"prune": prune} if prune else {}
    steps |= {"sparsity": str(sparsity)} if sparsity else {}
    return compress(call.settings, engine, steps, kind, path, items, call.console)


@command
def build(
    call: Call,
    engine: Annotated[str, typer.Argument(help="NAME, or NAME@VERSION.")],
    backend: Annotated[Literal["tensorrt"], typer.Option(help="What to build for.")] = "tensorrt",
) -> Result:
    """Add a version of an engine that TensorRT runs on the GPU: the same lists, another runtime.

    With the extra tensorrt it is for this machine's GPU alone; with the extra rtx, TensorRT-RTX,
    it is for all GPUs since Ampere, and is built without one too.

    Example: headrace build sasrec@2 --backend tensorrt
    """
    from pipeline.build import build

    return build(call.settings, engine, call.console)


@command
def activate(
    call: Call,
    engine: Annotated[
        str, typer.Argument(help="NAME (its newest) or NAME@VERSION. [default: the one added last]")
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Without a pass too; active.json says so.")
    ] = False,
) -> Result:
    """Make an engine of the store the active one.

    If another one is active, `headrace gate` must have passed it against that one.

    Example: headrace activate shop@3
    """
    from engines.registry import Registry, parted

    name, version = parted(engine)
    registry = Registry(call.settings.engine.store)
    return registry.activate(name or None, version, force).model_dump()


@command
def rollback(call: Call) -> Result:
    """Make the engine active again that was active before; it needs no pass.

    Example: headrace rollback
    """
    from engines.registry import Registry

    return Registry(call.settings.engine.store).rollback().model_dump()


@command
def gate(
    call: Call,
    candidate: Annotated[
        str, typer.Argument(help="The engine: NAME (its newest) or NAME@VERSION.")
    ],
    kind: Kind,
    path: Log = None,
    against: Annotated[
        str, typer.Option(help="The engine to hold it against. [default: the active one]")
    ] = "",
    until: Until = None,
    validate_until: ValidateUntil = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a report with plots (extra report).")
    ] = None,
) -> Result:
    """Decide whether an engine may take the active one's place.

    Both rank for users held out of a log: by what they did after the engines' training, or between
    --until and --validate-until; where there is none, by their last event. How much may change is
    set in [gate] of headrace.toml. The verdict is kept in the store, where `headrace activate`
    looks for it.

    Exit status 10 if the engine does not pass.

    Example: headrace gate shop@3 --source retail online_retail.parquet --html gate.html
    """
    from pipeline import gate_view
    from pipeline.gate import gate
    from schemas.errors import NOT_PASSED

    times = to_ms(until), to_ms(validate_until)
    told = gate(call.settings, candidate, kind, path, against, *times, html, call.console)
    if not call.as_json:
        call.shown |= gate_view.show(told)
    call.exit_code = 0 if told["passed"] else NOT_PASSED
    return told


@command
def engines_(call: Call) -> Result:
    """List the engines of the store.

    Example: headrace engines
    """
    from pipeline.engines import engines, print_engines

    found = engines(call.settings)
    if found and not call.as_json:
        call.shown.add("engines")
        print_engines(found)
    return {"engines": found}


@command
def evaluate(
    call: Call,
    kind: Kind,
    path: Log = None,
    model: Annotated[
        str, typer.Option(help="What to fit: cooccurrence, content, sasrec, blend; or popularity.")
    ] = "cooccurrence",
    until: Until = None,
    validate_until: ValidateUntil = None,
    items: Items = None,
    cold_items: Annotated[
        float,
        typer.Option(min=0, max=0.9, help="Share of the items to leave out of the fit and find."),
    ] = 0.0,
) -> Result:
    """Measure a model's next-item accuracy, all items ranked.

    Each user's last event is to be found by an engine fitted on all but the last two; or, with
    --validate-until, his first new item between the two times by one fitted on what was before.

    Example: headrace evaluate --source sequences beauty.txt --model sasrec
    """
    from pipeline.evaluate import evaluate

    times = to_ms(until), to_ms(validate_until)
    return evaluate(call.settings, model, kind, path, *times, items, cold_items, call.console)
