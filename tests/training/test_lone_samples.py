"""Batches that leave batch normalisation a single sample are refused before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from landscape.config.training import TrainConfig, TrainRun
from landscape.distributed import Group
from landscape.errors import OptionError
from landscape.training.lone_samples import check_lone_samples
from landscape.training.step_plan import StepPlan
from landscape.workflows.train import train

N = 1437  # training samples of the digits

NETWORKS = """
from torch import nn

def one_value():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Linear(4, 10))
"""


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"batch_size": N - 1}, N - 1),
        ({"batch_size": 359}, 359),  # 4 * 359 + 1
        ({"batch_size": 1}, 1),
        ({"batch_size": 64, "batch_schedule": "2:359"}, 359),
        ({"batch_size": 14, "ghost_batch_size": 2}, 14),  # the last batch is of 9, its last ghost of 1
        ({"batch_size": 718, "micro_batch_size": 359, "allow_microbatch_bn": True}, 718),
    ],
)
def test_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], size: int
) -> None:
    (tmp_path / "lone_networks.py").write_text(NETWORKS)
    monkeypatch.syspath_prepend(tmp_path)
    config = TrainConfig(model="lone_networks:one_value", epochs=2, **settings)
    with pytest.raises(OptionError, match=rf"more than one value a channel.*another batch size than {size}\.$"):
        train(config, TrainRun(out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def check(model: nn.Module, inputs: torch.Tensor, samples: int, group: Group | None = None, **settings: Any) -> None:
    config = TrainConfig(**settings)
    steps = StepPlan(samples, (config.batch_size,) * config.epochs)
    check_lone_samples(config, model, inputs, steps, group or Group())


def flat() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))


def test_what_trains_is_let_through_and_left_as_it_is() -> None:
    model, x, plain = flat().eval(), torch.randn(2, 3), nn.Linear(3, 2)
    # one sample has several values a channel here, so that it is run, with dropout
    images = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5)).eval()
    before, picture = {k: v.clone() for k, v in images.state_dict().items()}, torch.randn(1, 1, 8, 8)
    random_state = torch.get_rng_state()
    check(model, x, 10, batch_size=4)  # 4, 4, 2
    check(model, x, 9, batch_size=4, epochs=0)  # no step at all
    check(plain, x, 9, batch_size=4)  # nothing is normalised
    check(images, picture, 9, batch_size=4)
    assert all(torch.equal(v, before[k]) for k, v in images.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not images.training


def test_every_process_refuses_alike_where_one_of_them_gets_one_sample() -> None:
    """5 samples over two processes are 2 and 3, a last batch of 3 is 1 and 2."""
    for rank in (0, 1):
        group = Group(rank=rank, size=2)
        check(flat(), torch.randn(1, 3), 10, group, batch_size=5, allow_microbatch_bn=True)
        with pytest.raises(OptionError, match="another batch size than 5"):
            check(flat(), torch.randn(1, 3), 13, group, batch_size=5, allow_microbatch_bn=True)
