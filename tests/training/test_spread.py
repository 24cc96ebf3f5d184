"""Training by several processes: one trajectory whatever their number, and who takes which samples."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import spread_worker
import torch
from spread_worker import CASES, SIZES

from landscape.config.training import TrainConfig
from landscape.distributed import ALONE, Devices, Group
from landscape.errors import OptionError
from landscape.launch import run_processes
from landscape.training.batches import check_batches, ghost_norms, parts_of_batch
from landscape.training.optimizers.cotangents import CHUNK, Noise
from landscape.training.spread import Spread

# Error budget: another order of the sums of a batch moves a gradient by some 1e-16 of its largest part, so by 1e-13 of
# itself where it cancels to a thousandth of that; a normalisation passes relative errors on, and Adam's division of a
# moment by its own root too. Four steps stay below 1e-12; the bound leaves room for other machines.
RTOL = 1e-10


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """What every process of each size of group trained; one launch serves all sizes and cases."""
    folder = tmp_path_factory.mktemp("groups")
    command = [sys.executable, str(Path(spread_worker.__file__)), str(folder)]
    assert run_processes(command, Devices(("cpu",) * max(SIZES), threads=1)) == 0
    return {size: [torch.load(folder / f"{size}-{rank}.pt") for rank in range(size)] for size in SIZES}


@pytest.fixture(scope="module")
def alone() -> Iterator[dict[str, Any]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield spread_worker.alone()
    torch.set_num_threads(threads)


PAIRS = [(size, name) for size, cases in SIZES.items() for name in cases]


@pytest.mark.parametrize(("size", "name"), [pair for pair in PAIRS if pair[1] != "dropout"])
def test_the_trajectory_is_that_of_one_process(size, name, shared, alone):
    expected, got = alone[name], shared[size][0][name]
    for part in ("state", "moments"):
        assert expected[part].keys() == got[part].keys()
        for key, value in expected[part].items():
            if not isinstance(value, torch.Tensor) or not value.is_floating_point():
                assert got[part][key] == value, key
                continue
            error = (got[part][key] - value).abs().max() / value.abs().max().clamp_min(1e-300)
            assert error <= RTOL, (part, key, error)
    for row, other in zip(expected["history"], got["history"], strict=True):
        assert row == pytest.approx(other, rel=RTOL)
    assert got["decays"] == expected["decays"]
    assert torch.equal(got["draws"], expected["draws"]), "what is drawn for all is drawn as by one process"


@pytest.mark.parametrize(("size", "name"), PAIRS)
def test_all_processes_have_the_same_bits(size, name, shared):
    """Decisions (which beta is decayed, the plateau, a divergence) need then no exchange of their own."""
    first, *others = (each[name] for each in shared[size])
    for other in others:
        for part in ("state", "moments"):
            for key, value in first[part].items():
                assert torch.equal(torch.as_tensor(value), torch.as_tensor(other[part][key])), (part, key)
        assert (first["history"], first["decays"]) == (other["history"], other["decays"])
        assert torch.equal(first["draws"], other["draws"])


def test_adaptive_beta_was_put_to_the_test(alone):
    """Some steps decay a layer's beta and some do not."""
    chosen = {row[name] > 0 for row in alone["adaptive-beta"]["decays"] for name in row if name.endswith(".bias")}
    assert chosen == {True, False}


def test_dropout_draws_in_every_process_its_own(shared, alone):
    losses = {size: shared[size][0]["dropout"]["history"][-1]["train_loss"] for size in SIZES}
    losses[1] = alone["dropout"]["history"][-1]["train_loss"]
    assert len(set(losses.values())) == 3
    assert shared[2][0]["dropout"]["history"][0] == pytest.approx(alone["dropout"]["history"][0], rel=RTOL)


@pytest.mark.parametrize(
    ("size", "unit", "batch"), [(2, 4, 16), (3, 4, 16), (3, 4, 6), (4, 1, 3), (2, 4, 22), (1, 4, 6)]
)
def test_a_batch_is_cut_at_ghost_batches(size, unit, batch):
    spreads = [Spread(Group(rank, size), unit=unit) for rank in range(size)]
    rows = [spread.rows(batch) for spread in spreads]
    assert [row for own in rows for row in own] == list(range(batch))
    assert all(own.start % unit == 0 for own in rows if own)
    assert max(map(len, rows)) <= spreads[0].largest(batch) <= batch
    assert spreads[0].each_has_some(batch) == all(rows)
    blocks = [block for spread in spreads for block in spread.blocks(batch, 5)]
    assert [row for block in blocks for row in block] == list(range(batch))


def test_summands_weigh_by_the_batch_not_by_the_share():
    """4 + 4 + 8 samples: the mean of the processes' means would be another number."""
    inputs = torch.randn(16, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels, model = torch.arange(16) % 3, torch.nn.Identity()
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    total = 0.0
    for rank in range(3):
        share = Spread(Group(rank, 3), unit=4).batch(16)
        total += sum(float(part()) for part in parts_of_batch(model, inputs[order], labels[order], share=share))
    losses = inputs.exp().sum(1).log() - inputs[torch.arange(16), labels]
    assert math.isclose(total, float(losses.mean()), rel_tol=1e-14)


@pytest.mark.parametrize("kind", ["fisher", "gauss-newton"])
def test_a_sample_draws_the_same_in_any_part(kind):
    of = CHUNK + 100
    whole = Noise(kind, 3, of).rows(0, torch.zeros(of, 2))
    noise = Noise(kind, 3, of)
    parts = [noise.rows(i, torch.zeros(min(300, of - i), 2)) for i in range(0, of, 300)]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(Noise(kind, 4, of).rows(0, torch.zeros(of, 2)), whole)


def test_shares_that_cannot_be_are_refused():
    with pytest.raises(OptionError, match="a batch of 64 has 1 ghost batch for 2 processes"):
        check_batches(TrainConfig(ghost_batch_size=64), processes=2)
    with pytest.raises(OptionError, match="a batch of 3 has 3 samples for 4 processes"):
        check_batches(TrainConfig(batch_schedule="1:3"), processes=4)
    check_batches(TrainConfig(ghost_batch_size=32, allow_microbatch_bn=False), processes=2)
    model = spread_worker.Net(True, 0.0, False)
    with pytest.raises(OptionError, match=r"shared by 2 processes .* set a ghost_batch_size, or allow_microbatch_bn"):
        ghost_norms(TrainConfig(), model, Group(0, 2))
    check_batches(TrainConfig(allow_microbatch_bn=True), processes=2)
    assert ghost_norms(TrainConfig(allow_microbatch_bn=True), model, Group(0, 2)) is not None
    assert ghost_norms(TrainConfig(), model, ALONE) is None


def test_every_optimizer_that_asks_for_more_is_compared():
    asked = {case.get("optimizer", "sgd").partition(":")[0] for case in CASES.values()}
    assert asked >= {"sgd", "lamb", "lars", "sam", "asam", "cblr", "kfac-f", "kfac-g"}
