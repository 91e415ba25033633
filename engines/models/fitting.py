"""Fits a sequence network to a log: seeded, stopped early, resumed after a kill, on all GPUs.

    epoch: batches of windows in an order of chance ─▶ loss ─▶ AdamW
           validation: place of each held-out event ─▶ NDCG@100 ─▶ the best weights are kept
           checkpoint: everything, written beside the old one and renamed

Order, draws and dropout of an epoch follow from the seed and its number, so a fit that goes on from
a checkpoint ends with the same weights as one that was never interrupted.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from xxhash import xxh3_128

from engines import metrics
from engines.models.initial import initial_vectors
from engines.models.network import SequenceNetwork
from engines.models.plan import FitSettings, Shape, Told
from engines.models.trainee import Draws, Trainee
from engines.models.windows import Batch, Windows
from schemas.errors import EngineError

K = 100
"""Of the NDCG that says which epoch is best; that of 10 swings by a tenth from one to the next."""
JUDGED = 256  # windows judged at once: their logits over all items are in memory together


@dataclass(frozen=True, eq=False)
class Start:
    """What a fit begins with, instead of what follows from its log and seed.

    Args:
        vectors: float32 [I+1, D] of the items.
        network: the state of a network of the same shape; None: by chance.
        masks: by name of a parameter what is kept of it, bool; the rest is 0 and stays so.
    """

    vectors: Tensor
    network: Mapping[str, Tensor] | None = None
    masks: Mapping[str, Tensor] = field(default_factory=dict)

    def digest(self) -> str:
        """Hex; the same for equal values."""
        digest = xxh3_128(self.vectors.numpy().tobytes())
        for states in (self.network or {}, self.masks):
            for name, value in states.items():
                digest.update(name.encode() + value.numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Job:
    """What is to be fitted.

    Args:
        train: windows whose every event has a target.
        validation: windows whose last target is to be found. Where there is none the last epoch
            counts as the best.
        shape: of the network.
        settings: of the fit.
        seed: same seed, log, machine and number of threads: same weights.
        checkpoints: folder for the state after each epoch; a job goes on from its own, if any.
            None: nothing is kept.
        start: what it begins with; None: see `initial_vectors`.
    """

    train: Windows
    validation: Windows
    shape: Shape
    settings: FitSettings
    seed: int
    checkpoints: Path | None
    start: Start | None = None

    @cached_property
    def checkpoint(self) -> Path | None:
        """The file, named after all that the weights depend on."""
        if self.checkpoints is None:
            return None
        windows = self.train.digest(), self.validation.digest()
        start = self.start.digest() if self.start else ""
        facts = repr((windows, asdict(self.shape), asdict(self.settings), self.seed, start))
        return self.checkpoints / f"{xxh3_128(facts.encode()).hexdigest()}.pt"


@dataclass(frozen=True, eq=False)
class Fitted:
    """The best epoch of a fit.

    Args:
        network: on the CPU, ready to be asked.
        vectors: float32 [I+1, D] unit vectors of the items; that of the unknown one is 0.
        epoch: the best one, from 1.
        ndcg: NDCG@100 of the validation after each epoch.
    """

    network: SequenceNetwork
    vectors: NDArray[np.float32]
    epoch: int
    ndcg: list[float]


def fit(job: Job, told: Told, devices: list[str] | None = None) -> Fitted:
    """Fit on all GPUs there are, or else on the CPU.

    Args:
        job: what.
        told: hears of progress.
        devices: others than that, such as ["cuda:1"].

    Raises:
        EngineError: the checkpoint cannot be read or written.
    """
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    devices = devices or gpus or ["cpu"]
    with tempfile.TemporaryDirectory() as folder:
        # The processes meet in a file: no port is opened.
        meeting = f"file://{folder}/meeting" if len(devices) > 1 else ""
        others = spawn(  # type: ignore[no-untyped-call]
            _help, (devices, job, meeting), nprocs=len(devices) - 1, join=False
        )
        state = _work(0, devices, job, meeting, told)
        others.join()
    trainee = Trainee(torch.zeros_like(state["best"]["items.weight"]), job.shape)
    trainee.load_state_dict(state["best"])
    vectors = trainee.vectors().detach().numpy()
    return Fitted(trainee.network.eval(), vectors, state["best_epoch"], state["ndcg"])


def _help(number: int, devices: list[str], job: Job, meeting: str) -> None:
    _work(number + 1, devices, job, meeting, lambda done, total, note: None)


def _work(rank: int, devices: list[str], job: Job, meeting: str, told: Told) -> dict[str, Any]:
    """One process's part of a fit; returns the state at its end."""
    if not meeting:
        return _Worker(rank, devices, job, told).run()
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(max(1, torch.get_num_threads() // len(devices)))
    backend = "nccl" if devices[rank].startswith("cuda") else "gloo"
    torch.distributed.init_process_group(
        backend, init_method=meeting, rank=rank, world_size=len(devices)
    )
    try:
        return _Worker(rank, devices, job, told).run()
    finally:
        torch.distributed.destroy_process_group()


class _Worker:
    """One process of a fit. All have the same weights; the first one judges and writes."""

    def __init__(self, rank: int, devices: list[str], job: Job, told: Told) -> None:
        self.job, self.told = job, told
        self.rank, self.world = rank, len(devices)
        self.device = torch.device(devices[rank])
        torch.manual_seed(job.seed)
        seen = job.train.seen
        start = job.start or Start(initial_vectors(seen, job.shape.width))
        self.trainee = Trainee(start.vectors.clone(), job.shape)
        if start.network is not None:
            self.trainee.network.load_state_dict(start.network)
        self.trainee.to(self.device)
        network = dict(self.trainee.network.named_parameters())
        self.masked = [(network[name], mask.to(self.device)) for name, mask in start.masks.items()]
        self._mask()
        self.optimiser = torch.optim.AdamW(
            self.trainee.parameters(), betas=(0.9, 0.98), weight_decay=0.0, fused=True
        )
        self.draws = Draws(seen.popularity, job.settings.negatives)
        self.state: dict[str, Any] = {"epoch": 0, "ndcg": [], "best_epoch": 0}
        if job.checkpoint and job.checkpoint.exists():
            self._restore(job.checkpoint)
        self.forward: nn.Module = self.trainee
        if self.world > 1:
            self.forward = nn.parallel.DistributedDataParallel(self.trainee)

    def run(self) -> dict[str, Any]:
        settings = self.job.settings
        while self.state["epoch"] < settings.epochs and not self._is_over():
            self._epoch()
            ndcg = self._judge()
            self.state["epoch"] += 1
            self.state["ndcg"].append(ndcg)
            if ndcg >= max(self.state["ndcg"]):
                self.state["best_epoch"] = self.state["epoch"]
                self.state["best"] = {
                    name: value.cpu().clone() for name, value in self.trainee.state_dict().items()
                }
            if self.rank == 0 and self.job.checkpoint:
                self._save(self.job.checkpoint)
        self.told(1, 1, self._note())
        return self.state

    def _is_over(self) -> bool:
        since = self.state["epoch"] - self.state["best_epoch"]
        return len(self.job.validation) > 0 and since >= self.job.settings.patience

    def _epoch(self) -> None:
        settings, epoch = self.job.settings, int(self.state["epoch"])
        chance = np.random.default_rng([self.job.seed, epoch])
        groups = self.job.train.groups(settings.events, chance)
        # Every process takes as many, so that none waits for one that has ended.
        batches = -(-len(groups) // self.world)
        torch.manual_seed(hash((self.job.seed, epoch, self.rank)))
        self.trainee.train()
        for number in range(batches):
            step = epoch * batches + number
            rate = settings.learning_rate_at(step, settings.epochs * batches)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            rows = groups[(number * self.world + self.rank) % len(groups)]
            batch = self.job.train.batch(rows).looking_ahead(settings.ahead, chance)
            self._step(batch, chance)
            self.told(step, settings.epochs * batches, self._note())

    def _step(self, batch: Batch, chance: np.random.Generator) -> None:
        drawn, log_nq = (tensor.to(self.device) for tensor in self.draws.draw(chance))
        with self._precision():
            loss = self.forward(self._tensors(batch), drawn, log_nq)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self._mask()

    def _mask(self) -> None:
        for parameter, mask in self.masked:
            parameter.data *= mask

    def _precision(self) -> AbstractContextManager[object]:
        """Matrix products in bfloat16 on a GPU; a CPU is no faster with it."""
        if self.device.type == "cuda":
            return torch.autocast("cuda", torch.bfloat16)
        return nullcontext()

    def _judge(self) -> float:
        """NDCG@100 of the validation, as the first process finds it."""
        found = torch.zeros(1, device=self.device)
        rows = np.arange(len(self.job.validation))
        if self.rank == 0 and len(rows):
            self.trainee.eval()
            places = [
                self.trainee.places(self._tensors(self.job.validation.batch(part))).cpu().numpy()
                for part in np.array_split(rows, -(-len(rows) // JUDGED))
            ]
            found += metrics.ndcg(np.concatenate(places), K)
        if self.world > 1:
            torch.distributed.broadcast(found, 0)
        return float(found)

    def _tensors(self, batch: Batch) -> Mapping[str, Tensor]:
        arrays = {"target": batch.target, **batch.features}
        return {name: torch.from_numpy(a).to(self.device) for name, a in arrays.items()}

    def _note(self) -> str:
        if not self.state["ndcg"]:
            return ""
        return f"epoch {self.state['epoch']}: NDCG@{K} {self.state['ndcg'][-1]:.4f}"

    def _save(self, path: Path) -> None:
        """Replace the checkpoint, or leave the old one as it is."""
        whole = {
            "state": self.state,
            "trainee": self.trainee.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        temporary = path.with_suffix(".tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(whole, temporary)
            temporary.replace(path)
        except (OSError, RuntimeError) as error:  # PyTorch's writer says RuntimeError
            temporary.unlink(missing_ok=True)
            raise EngineError(
                "the checkpoint of the fit cannot be written",
                expected=f"a file {path}",
                received=str(error).splitlines()[0],
                fix="free the disk, and run the same command again: it goes on from the last epoch",
            ) from error

    def _restore(self, path: Path) -> None:
        try:
            whole = torch.load(path, map_location=self.device, weights_only=True)
            self.trainee.load_state_dict(whole["trainee"])
            self.optimiser.load_state_dict(whole["optimiser"])
            self.state = whole["state"]
        except (OSError, RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as error:
            raise EngineError(
                "the checkpoint of a fit cannot be read",
                expected=f"what headrace wrote to {path}",
                received=str(error).splitlines()[0],
                fix="delete it, to begin anew",
            ) from error
