"""A process of the launch that `test_spread.py` compares: every size of group trains the same networks."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from landscape.config.training import TrainConfig
from landscape.distributed import ALONE, Group
from landscape.parameters import describe
from landscape.training.batches import Batching
from landscape.training.decay.applying import Decay
from landscape.training.decay.plan import fill_decay, plan_decay
from landscape.training.ghost_norm import GhostNorms, batch_norms
from landscape.training.loop import fit
from landscape.training.optimizers import build_optimizer, fill_options
from landscape.training.samples import Split
from landscape.training.schedules import constant
from landscape.training.spread import Spread
from landscape.training.state import TrainingState

SAMPLES, BATCH, GHOST, EPOCHS = 22, 16, 4, 2
# Batches of 16 are 4 ghost batches: 8 + 8 samples, or 4 + 4 + 8. Those of 6 are 2, one of them of two samples: of three
# processes one has none.
CASES: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adamw": {"optimizer": "adamw"},
    "lamb": {"optimizer": "lamb"},
    "lars": {"optimizer": "lars"},
    "mclr": {"optimizer": "mclr"},
    "sam": {"optimizer": "sam", "discard": 0.2},
    "asam": {"optimizer": "asam:base=lamb"},
    "cblr": {"optimizer": "cblr:interval=2,probes=2"},
    "kfac-f": {"optimizer": "kfac-f:statistics=2,inverses=2"},
    "kfac-g": {"optimizer": "kfac-g:statistics=2,inverses=2", "micro_batch_size": 8},
    "adaptive-beta": {"decay": "adaptive-beta", "decay_threshold": 0.5, "weight_decay": 0.01},
    "decoupled": {"decay": "adaptive-beta", "decay_threshold": 0.5, "decay_mode": "decoupled", "optimizer": "sam"},
    "discard": {"discard": 0.3},
    "micro": {"micro_batch_size": 4},
    "smoothing": {"label_smoothing": 0.2},
    "micro, discard": {"micro_batch_size": 4, "discard": 0.3, "optimizer": "cblr:interval=2"},
    "unused": {"unused": True},
    "frozen": {"freeze": "bn"},
    "no norm": {"norm": False, "optimizer": "kfac-f:statistics=2"},
    "dropout": {"dropout": 0.5},
}
SIZES = {2: list(CASES), 3: ["sgd", "sam", "cblr", "kfac-g", "micro, discard", "dropout"]}


class Net(nn.Module):
    """Two convolutions, each normalised, and a linear layer; `spare` is never used.

    No bias before a normalisation: its gradient is 0 but for rounding, which Adam's moments would blow up.
    """

    def __init__(self, norm: bool, dropout: float, unused: bool) -> None:
        super().__init__()
        norms = [nn.BatchNorm2d(4) if norm else nn.Identity() for _ in range(2)]
        self.body = nn.Sequential(
            nn.Conv2d(2, 4, 3, bias=not norm), norms[0], nn.ReLU(),
            nn.Conv2d(4, 4, 3, bias=not norm), norms[1], nn.Tanh(),
            nn.Dropout(dropout), nn.Flatten(), nn.Linear(64, 3),
        )  # fmt: skip
        if unused:
            self.spare = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out


def samples(number: int, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(number, 2, 8, 8, generator=generator, dtype=torch.float64)
    return Split(inputs, torch.randint(3, (number,), generator=generator))


def run(name: str, group: Group) -> dict[str, Any]:
    """The weights, buffers and moments, the history and the decays that a case leaves."""
    options = dict(CASES[name])
    unused, norm, dropout = options.pop("unused", False), options.pop("norm", True), options.pop("dropout", 0.0)
    config = fill_decay(fill_options(TrainConfig(**options)))
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = Net(norm, dropout, unused).double()
        if config.freeze:
            for layer in batch_norms(model):
                layer.requires_grad_(False)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = build_optimizer(config, trained)
        state = TrainingState(model, optimizer, torch.Generator().manual_seed(2), torch.device("cpu"))
        plan = plan_decay(config, describe(model)) if config.decay is not None else None
        decay = Decay(plan, config.decay_mode, model, optimizer) if plan is not None else None
        how = Batching(
            micro=config.micro_batch_size,
            discard=config.discard or 0.0,
            smoothing=config.label_smoothing,
            ghosts=GhostNorms(model, GHOST, group),
            spread=Spread(group, unit=GHOST, may_leave_unused=unused),
        )
        lr = config.lr or 0.1
        with how.ghosts.installed():
            rows = list(
                fit(
                    state, samples(SAMPLES, 0), samples(9, 1), schedule=constant(lr / 4), batch_size=BATCH,
                    epochs=EPOCHS, batching=how, decay=decay,
                )
            )  # fmt: skip
        return {
            "state": dict(model.state_dict()),
            "moments": {f"{i} {k}": v for i, s in optimizer.state_dict()["state"].items() for k, v in s.items()},
            "history": [{k: v for k, v in row.items() if k != "seconds"} for row in rows],
            "decays": decay.take_steps(1) if decay is not None else None,
            "draws": torch.rand(3),
        }


def results(group: Group, cases: Iterable[str]) -> dict[str, Any]:
    return {name: run(name, group) for name in cases}


def main(folder: Path) -> None:
    store, rank, _ = next(rendezvous("env://"))
    for size, cases in SIZES.items():
        if rank >= size:
            continue
        names = PrefixStore(f"group of {size}", store)
        dist.init_process_group("gloo", store=names, rank=rank, world_size=size)
        torch.save(results(Group(rank, size, "cpu", PrefixStore("words", names)), cases), folder / f"{size}-{rank}.pt")
        dist.destroy_process_group()


def alone() -> dict[str, Any]:
    return results(ALONE, CASES)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
