"""``model.onnx`` to a plan: the model as TensorRT has optimised it for a GPU.

    model.onnx ─▶ rewrite ─▶ parser ─▶ network, strongly typed ─▶ builder ─▶ plan
                                                                   ▲  │
                                                       timing cache ──┘

The tables stay inputs, so that they lie on the device once and are replaced without another plan.
Types are those of the graph, an fp16 or Q/DQ graph's too; TF32 is off. Shapes are fixed, so a plan
has the one profile that TensorRT makes of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engines.backends.tensorrt import timing
from engines.backends.tensorrt.api import TensorRT, installed
from engines.backends.tensorrt.gpu import Gpu, find_gpu, version
from engines.backends.tensorrt.plans import PORTABLE
from engines.backends.tensorrt.progress import Told, monitor
from engines.backends.tensorrt.rewrite import for_tensorrt
from engines.bundle import Bundle
from engines.manifest import MODEL, GpuPlan
from schemas.errors import EngineError

MAX_K = 3_840
"""Of TensorRT's TopK."""


def builder() -> tuple[TensorRT, Gpu | None]:
    """The package that can build a plan here, and the GPU that it is for; None: for many.

    Raises:
        EngineError: there is no package, or it needs a GPU and there is none.
    """
    packages = installed()
    try:
        gpu = find_gpu()
    except EngineError:
        if portable := [package for package in packages if package.portable]:
            return portable[0], None
        raise
    return packages[0], None if packages[0].portable else gpu


def build(
    bundle: Bundle, tensorrt: TensorRT, gpu: Gpu | None, cache: Path, told: Told
) -> tuple[GpuPlan, bytes]:
    """A plan of a bundle's model, and its entry in the manifest.

    Args:
        bundle: verified.
        tensorrt, gpu: as `builder` gives them.
        cache: folder of timing caches.
        told: told of the progress.

    Raises:
        EngineError: an operator that TensorRT lacks, lists that are too long for it, or a build
            that failed.
    """
    _check_k(bundle)
    trt = tensorrt.module
    entry = _entry(bundle, tensorrt, gpu)
    maker = trt.Builder(tensorrt.logger)
    # Always so since TensorRT 11; 10 has to be told.
    network = maker.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, tensorrt.logger)
    if not parser.parse(for_tensorrt(bundle.model)):
        errors = [parser.get_error(number) for number in range(parser.num_errors)]
        raise _unparsed(bundle, tensorrt, errors)
    config = maker.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    progress = monitor(trt, told)  # must outlive the build
    config.progress_monitor = progress
    file = cache / f"{tensorrt.flavour}-{tensorrt.version}-{entry.gpu}.timing"
    timings = None if tensorrt.portable else timing.attach(config, file)
    plan = maker.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(
            f"TensorRT cannot build {bundle.label}",
            expected=f"a model that {tensorrt} can optimise",
            received=tensorrt.blamed("no reason"),
            fix="serve it with engine.backend = onnx",
        )
    if timings is not None:
        timing.keep(timings, file)
    return entry, bytes(plan)


def _entry(bundle: Bundle, tensorrt: TensorRT, gpu: Gpu | None) -> GpuPlan:
    return GpuPlan(
        gpu=gpu.slug if gpu else PORTABLE,
        driver=version(gpu.cuda) if gpu else None,
        flavour=tensorrt.flavour,
        version=tensorrt.version,
        onnx_sha256=bundle.manifest.files[MODEL].sha256,
    )


def _check_k(bundle: Bundle) -> None:
    """Refuse what no TopK of TensorRT can do, before minutes go into a build."""
    import onnx

    graph = onnx.load_model_from_string(bundle.model).graph
    known = {tensor.name: tensor for tensor in graph.initializer}
    asked = [node.input[1] for node in graph.node if node.op_type == "TopK"]
    numbers = [int(onnx.numpy_helper.to_array(known[k]).item()) for k in asked if k in known]
    if (most := max(numbers, default=0)) > MAX_K:
        raise EngineError(
            f"TensorRT cannot build {bundle.label}: a TopK finds too many",
            expected=f"at most {MAX_K}",
            received=f"{most}",
            fix="export it with a smaller k, or serve it with engine.backend = onnx",
        )


def _unparsed(bundle: Bundle, tensorrt: TensorRT, errors: list[Any]) -> EngineError:
    tensorrt.messages.clear()  # they say the same
    return EngineError(
        f"TensorRT cannot build {bundle.label}: it lacks ONNX operators, or forms of them",
        expected=f"operators that {tensorrt} has",
        received="; ".join(map(_lacking, errors)),
        fix="export the engine without them, or serve it with engine.backend = onnx",
    )


def _lacking(error: Any) -> str:
    """The operator, its name in the graph, and what is wrong with it."""
    # Where the parser does not name the operator, the function of its own that failed does.
    operator = error.node_operator() or error.func().removeprefix("import")
    reason = "" if error.desc() == "false" else f": {error.desc()}"
    return f"{operator} {error.node_name()}".strip() + reason
