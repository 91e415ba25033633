"""A fit follows from its seed and its log, whatever interrupts it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.models.fitting import Fitted, Job, fit
from engines.models.plan import FitSettings, Shape
from engines.models.split import Split
from engines.models.trainee import Draws, Trainee
from engines.models.windows import Windows
from schemas.errors import EngineError
from tests.engines.examples import CLICK
from tests.engines.rule import ITEMS, SEEN

EPOCHS = 3


def job(folder: Path, **settings: float) -> Job:
    split = Split.by_last(SEEN, seed=0)
    return Job(
        train=Windows.of(split.train),
        validation=Windows.before(split.whole, split.judged),
        shape=Shape.of_width(16, dropout=0.1),
        settings=replace(
            FitSettings(epochs=EPOCHS, events=64, negatives=20, warm_up=10), **settings
        ),
        seed=3,
        checkpoints=folder,
    )


def quietly(job: Job, devices: list[str] | None = None) -> Fitted:
    return fit(job, lambda done, total, note: None, devices or ["cpu"])


def weights(fitted: Fitted) -> bytes:
    state = [value.numpy().tobytes() for value in fitted.network.state_dict().values()]
    return b"".join([fitted.vectors.tobytes(), *state])


def test_a_rule_is_learnt_and_the_best_epoch_kept(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    one = job(tmp_path, epochs=12)
    fitted = fit(one, lambda *what: told.append(what), ["cpu"])
    assert max(fitted.ndcg) > 0.7 > fitted.ndcg[0]
    assert fitted.ndcg[fitted.epoch - 1] == max(fitted.ndcg)
    assert np.linalg.norm(fitted.vectors, axis=1).tolist() == pytest.approx([0] + [1] * ITEMS)
    done, total, note = told[-1]
    assert done == total
    assert note == f"epoch {len(fitted.ndcg)}: NDCG@100 {fitted.ndcg[-1]:.4f}"
    assert [done for done, _, _ in told[:-1]] == sorted(done for done, _, _ in told[:-1])


def test_the_seed_decides(tmp_path: Path) -> None:
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    whole = weights(quietly(job(first)))
    assert whole == weights(quietly(job(again)))
    assert whole != weights(quietly(replace(job(other), seed=4)))


def test_it_stops_where_nothing_gets_better(tmp_path: Path) -> None:
    fitted = quietly(job(tmp_path, epochs=50, learning_rate=0.0, patience=2))
    assert len(fitted.ndcg) == 50  # equal is no worse: an epoch that ties is the best one
    fitted = quietly(job(tmp_path, epochs=50, learning_rate=0.3, patience=2))
    assert len(fitted.ndcg) == fitted.epoch + 2 < 50


KILLED = """
import os, signal, sys
import torch
from pathlib import Path
from engines.models.fitting import fit
from tests.engines.models.test_fitting import job

torch.set_num_threads(1)

def told(done, total, note):
    if note.startswith("epoch 2:"):
        os.kill(os.getpid(), signal.SIGKILL)

fit(job(Path(sys.argv[1])), told, ["cpu"])
"""


def test_after_a_kill_it_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole = quietly(job(tmp_path / "whole"))
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "killed"], check=False)
    assert killed.returncode == -signal.SIGKILL
    done: list[int] = []
    rest = fit(job(tmp_path / "killed"), lambda *what: done.append(what[0]), ["cpu"])
    assert done[0] > 0  # it did not begin anew
    assert rest.ndcg == whole.ndcg
    assert weights(rest) == weights(whole)


def test_another_job_does_not_go_on_from_it(tmp_path: Path) -> None:
    quietly(job(tmp_path))
    done: list[int] = []
    fit(job(tmp_path, learning_rate=0.001), lambda *what: done.append(what[0]), ["cpu"])
    assert done[0] == 0


def test_a_spoiled_checkpoint_is_named(tmp_path: Path) -> None:
    quietly(job(tmp_path))
    path = job(tmp_path).checkpoint
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(EngineError, match=rf"cannot be read[\s\S]*{path.name}[\s\S]*delete"):
        quietly(job(tmp_path))


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "evil"),)

    torch.save({"state": Evil(), "trainee": {}, "optimiser": {}}, job(tmp_path).checkpoint)
    with pytest.raises(EngineError, match="cannot be read"):
        quietly(job(tmp_path))
    assert not (tmp_path / "evil").exists()


def test_a_full_disk_is_an_error_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    quietly(job(tmp_path))  # of all epochs but the last one's
    path = job(tmp_path).checkpoint
    whole = torch.load(path, weights_only=True)
    whole["state"]["epoch"] -= 1
    torch.save(whole, path)
    before = path.read_bytes()
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    heed = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, unlimited[1]))
    try:
        with pytest.raises(EngineError, match=r"cannot be written[\s\S]*free the disk"):
            quietly(job(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        signal.signal(signal.SIGXFSZ, heed)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_two_processes_fit_one_model(tmp_path: Path) -> None:
    fitted = quietly(job(tmp_path / "two", epochs=12), ["cpu", "cpu"])
    assert max(fitted.ndcg) > 0.6
    again = quietly(job(tmp_path / "again", epochs=12), ["cpu", "cpu"])
    assert weights(fitted) == weights(again)


def test_without_a_validation_the_last_epoch_counts(tmp_path: Path) -> None:
    one = job(tmp_path)
    none = Windows.before(one.train.seen, np.empty(0, np.int64))
    assert quietly(replace(one, validation=none)).epoch == EPOCHS


@pytest.mark.parametrize("corrected", [True, False])
def test_the_sampled_loss_is_that_over_all_items(corrected: bool) -> None:
    """And without its correction it is not."""
    torch.manual_seed(0)
    trainee = Trainee(torch.randn(ITEMS + 1, 16), Shape.of_width(16)).eval()
    trainee.network.log_temperature.data.fill_(1.0)
    item = torch.tensor([[1, 2, 3], [0, 9, 4]])
    batch = {
        "item": item,
        "event_type": torch.full_like(item, CLICK),
        "gap_s": torch.zeros(item.shape),
        "target": torch.tensor([[2, 3, 4], [0, 4, 5]]),
    }
    draws = Draws(np.arange(ITEMS + 1, dtype=float) ** 2, 20_000)
    drawn, log_nq = draws.draw(np.random.default_rng(0))
    with torch.no_grad():
        every = torch.arange(1, ITEMS + 1)
        expected = float(trainee(batch, every, torch.zeros(ITEMS)))
        sampled = float(trainee(batch, drawn, log_nq if corrected else log_nq.mean()))
    assert (abs(sampled - expected) < 0.02) == corrected


def test_a_target_is_no_negative_of_its_own() -> None:
    trainee = Trainee(torch.randn(ITEMS + 1, 16), Shape.of_width(16)).eval()
    one = torch.tensor([[3]])
    batch = {"item": one, "event_type": one, "gap_s": torch.zeros(1, 1), "target": one + 1}
    with torch.no_grad():
        alone = trainee(batch, torch.tensor([4, 4]), torch.zeros(2))
        other = trainee(batch, torch.tensor([4, 5]), torch.zeros(2))
    assert float(alone) == 0 < float(other)
