"""Small engines and profiles for the tests, and ways to spoil a bundle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.bundle import Bundle
from engines.catalogue import Catalogue, item_hash
from engines.draft import Draft, draft_of, write_bundle
from engines.features import Histories, features
from engines.manifest import MANIFEST, Training
from engines.models import cooccurrence
from engines.models.cooccurrence import CooccurrenceModel
from engines.models.interactions import Event, Interactions
from engines.models.plan import Shape
from engines.models.sasrec import SasrecModel
from schemas.profile import PROFILE_DTYPE

if TYPE_CHECKING:
    from engines.models.blend import BlendModel
    from engines.models.content import ContentModel

CLICK = 3
VALUES = {"product-items": "8"}
"""Of the steps of compression that take one."""


def events(*histories: str) -> list[Event]:
    """Clicks, one user a string, one item a letter, a second apart: events("abc", "bd")."""
    return [
        (f"user-{number}", item, CLICK, place * 1000)
        for number, history in enumerate(histories)
        for place, item in enumerate(history)
    ]


def fit(
    log: Iterable[Event], attributes: Mapping[str, Mapping[str, Any]] | None = None, name: str = ""
) -> CooccurrenceModel:
    """The quickest of the models."""
    return cooccurrence.fit(Interactions.read(log, attributes, name))


def random_model(items: int, users: int = 300, seed: int = 0) -> CooccurrenceModel:
    """A model of items "0", "1", ..., fitted on random clicks that meet them all."""
    random = np.random.default_rng(seed)
    log = [("all", str(item), CLICK, 0) for item in range(items)]
    for user in range(users):
        clicked = random.integers(0, items, 12)
        log += [(str(user), str(item), CLICK, place) for place, item in enumerate(clicked)]
    return fit(log)


def random_sasrec(items: int, seed: int = 0) -> SasrecModel:
    """A model of items "0", "1", ... that was never fitted."""
    import torch

    from engines.models.network import SequenceNetwork

    torch.manual_seed(seed)
    log = Interactions.read(("user", str(item), CLICK, item) for item in range(items))
    vectors = torch.nn.functional.normalize(torch.randn(items + 1, 16), dim=1)
    vectors[0] = 0
    network = SequenceNetwork(Shape.of_width(16))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return SasrecModel(
        log.catalogue, network.eval(), vectors.numpy(), log.popularity, log.training, {}, {}
    )


def random_content(items: int, seed: int = 0) -> ContentModel:
    """A model of items "0", "1", ... whose vectors say nothing."""
    from engines.models.content import ContentModel

    like = random_sasrec(items, seed)
    return ContentModel(like.catalogue, like.vectors, like.popularity, like.training, {})


def random_blend(items: int, seed: int = 0) -> BlendModel:
    """A model of items "0", "1", ... with a network that was never fitted."""
    from engines.models.blend import BlendModel, blend_tables
    from engines.models.channels import Channels
    from engines.models.ranker import HEADS, Ranker

    like = random_sasrec(items, seed)
    chance = np.random.default_rng(seed)
    clicked = chance.integers(0, items, (200, 12))
    log = [
        *(
            (f"user-{user}", str(item), CLICK, 1)
            for user, row in enumerate(clicked)
            for item in row
        ),
        *(("all", str(item), CLICK, 0) for item in range(items)),
    ]
    seen = Interactions.read(log)
    content = np.roll(like.vectors, 1, axis=1)
    tables = blend_tables(seen, like.vectors, cooccurrence.fit(seen), content)
    ranker = Ranker(dict.fromkeys(HEADS, 1.0)).eval()
    channels = Channels(like.network).eval()
    return BlendModel(seen.catalogue, channels, ranker, tables, seen.training, {}, {})


def random_encoder(items: int, batch: int) -> Draft:
    """An engine of items "0", "1", ... that looks at more events than a profile holds."""
    from engines.models import encoder

    log = Interactions.read(("user", str(item), CLICK, item) for item in range(items))
    shape = encoder.EncoderShape(length=128, width=16, layers=2, heads=2, hidden=32)
    return encoder.draft(log, shape, batch=batch)


def random_profiles(n: int, items: int, seed: int = 0) -> NDArray[np.void]:
    """Profiles with 0..50 events and 0..64 excluded ones of items "0", "1", ...; a few unknown."""
    random = np.random.default_rng(seed)
    hashes = np.array([item_hash(str(item)) for item in range(items + 2)], np.uint64)
    profiles = np.zeros(n, PROFILE_DTYPE)
    profiles["history_len"] = random.integers(0, 51, n)
    profiles["excluded_len"] = random.integers(0, 65, n)
    in_history = np.arange(50) < profiles["history_len"][:, None]
    in_excluded = np.arange(64) < profiles["excluded_len"][:, None]
    history = profiles["history"]
    history["item_hash"][in_history] = random.choice(hashes, in_history.sum())
    history["event_type"][in_history] = random.integers(0, 12, in_history.sum())
    history["event_time"][in_history] = random.integers(0, 10**12, in_history.sum())
    profiles["excluded"][in_excluded] = random.choice(hashes, in_excluded.sum())
    return profiles


def tiny_bundle(folder: Path) -> Path:
    """A sound bundle of four items, engine tiny@1."""
    write_bundle(folder, fit(events("abcd", "abd")).draft(batch=2, k=3), "tiny", "1")
    return folder


def copied(bundle: Bundle, folder: Path, tables: dict[str, NDArray[Any]]) -> Bundle:
    """A bundle with other tables, and everything else as it was."""
    draft = replace(draft_of(bundle), tables=tables)
    write_bundle(folder / "copy", draft, "copy", "1")
    return Bundle.open(folder / "copy")


def spoil(
    folder: Path,
    edit: Callable[[dict[str, Any]], object] = lambda manifest: None,
    **files: bytes,
) -> Path:
    """Change a bundle and make its hashes right again, so that only the change can be refused.

    Args:
        edit: changes the parsed manifest in place.
        files: new contents; model_onnx stands for model.onnx.
    """
    manifest = json.loads((folder / MANIFEST).read_text())
    for argument, data in files.items():
        name = argument.replace("_", ".")
        (folder / name).write_bytes(data)
        entry = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
        manifest["files"][name] = entry
    edit(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def scorer(
    nodes: list[onnx.NodeProto],
    *,
    items: int = 4,
    batch: int = 2,
    constants: dict[str, NDArray[Any]] | None = None,
    domains: tuple[str, ...] = ("",),
) -> bytes:
    """A model of width 50 and k 3 that lists by x [batch, items + 1].

    ``nodes`` make x out of start, the last of the history's items as float32 [batch, items + 1].
    """
    frame = [
        helper.make_node("Slice", ["item", "from", "to", "axis"], ["cut"]),
        helper.make_node("Cast", ["cut"], ["start"], to=TensorProto.FLOAT),
        *nodes,
        helper.make_node("Add", ["x", "mask"], ["masked"]),
        helper.make_node("TopK", ["masked", "k"], ["scores", "items"], axis=1),
        helper.make_node("Sub", ["items", "items"], ["channels"]),
    ]
    values = {
        "from": np.array([50 - items - 1]),
        "to": np.array([50]),
        "axis": np.array([1]),
        "k": np.array([3]),
        "mask": np.array([-np.inf] + [0] * items, np.float32),  # index 0 is no item
        **(constants or {}),
    }
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        frame,
        "scorer",
        [info("item", TensorProto.INT64, [batch, 50])],
        [
            info("scores", TensorProto.FLOAT, [batch, 3]),
            info("items", TensorProto.INT64, [batch, 3]),
            info("channels", TensorProto.INT64, [batch, 3]),
        ],
        [numpy_helper.from_array(array, name) for name, array in values.items()],
    )
    opsets = [helper.make_opsetid(domain, 1 if domain else 19) for domain in domains]  # with float8
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


def scorer_draft(model: bytes, items: int = 4, batch: int = 2) -> Draft:
    """A draft around ``scorer(...)``."""
    return Draft(
        model=model,
        catalogue=Catalogue.build([str(item) for item in range(items)], np.ones(items)),
        batch=batch,
        k=3,
        input_widths={"item": 50},
        channels=("only",),
        kind="test",
        training=Training(log="", events=0, users=0, first_event_time=None, last_event_time=None),
    )


def inputs(profiles: NDArray[np.void], bundle: Bundle) -> dict[str, NDArray[Any]]:
    """What the engine of a bundle is given for packed profiles."""
    histories = Histories.of(profiles, bundle.manifest.history_slots)
    return dict(features(histories, bundle.catalogue))
