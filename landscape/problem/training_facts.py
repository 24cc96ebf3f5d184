"""What is known of the training that led to a network: its initial weights and the state of its optimizer.

Only a checkpoint that holds them knows; measures of distance from initialisation, of effective learning rates and of
preconditioned sharpness ask for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landscape.checkpoint import Checkpoint, read_checkpoint
from landscape.errors import CheckpointError, LandscapeError

_FINAL, _FOLDER, _INITIAL = "final.pt", "checkpoints", "epoch-0000.pt"  # of a run folder of `landscape train`


@dataclass(frozen=True)
class AdamState:
    """The second moments of Adam, and what turns them into a preconditioner.

    Attributes:
        second_moments: v by name of the parameter, before bias correction.
        steps: optimizer steps done, t.
        beta1, beta2, eps: as Adam's.
        rate: the learning rate.
    """

    second_moments: Mapping[str, Tensor]
    steps: int
    beta1: float
    beta2: float
    eps: float
    rate: float

    def preconditioner(self, name: str) -> Tensor:
        """The diagonal of P at one parameter, (1 - beta1^t) (sqrt(v / (1 - beta2^t)) + eps)."""
        v = self.second_moments[name].double() / (1 - self.beta2**self.steps)
        return (1 - self.beta1**self.steps) * (v.sqrt() + self.eps)


@dataclass(frozen=True)
class TrainingFacts:
    """What a checkpoint says of its training.

    Attributes:
        initial: the parameters before the first step, by name; None where they are not known.
        rates: the learning rate of each parameter by name; empty where the optimizer's state is not known.
        adam: the state of Adam or AdamW; None of another optimizer.
    """

    initial: Mapping[str, Tensor] | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    adam: AdamState | None = None


def training_facts(checkpoint: Checkpoint, model: nn.Module, initial: Path | None = None) -> TrainingFacts:
    """Read what a checkpoint says of its training.

    Args:
        checkpoint: of the network; a run folder of `landscape train` keeps its initial weights beside it.
        model: with the parameters of the checkpoint.
        initial: a checkpoint of the initial weights.

    Raises:
        CheckpointError: `initial` cannot be read or does not fit the network.
    """
    named: dict[str, Tensor] = dict(model.named_parameters())
    first = _initial(checkpoint, named, initial)
    try:
        state = checkpoint.optimizer
        if state is not None:
            return TrainingFacts(initial=first, rates=_rates(state, named), adam=_adam(state, named))
    except Exception:  # anybody's file: what is no optimizer's state can fail anywhere, and says as little as none
        pass
    return TrainingFacts(initial=first)


def _initial(checkpoint: Checkpoint, named: Mapping[str, Tensor], given: Path | None) -> dict[str, Tensor] | None:
    if given is not None:
        tensors = read_checkpoint(given).tensors
        wrong = [name for name, p in named.items() if name not in tensors or tensors[name].shape != p.shape]
        if wrong:
            raise CheckpointError(
                f"{given} holds no initial weights of this network: {wrong[0]} is not there, or has another shape."
            )
        return {name: tensors[name] for name in named}
    if checkpoint.description is None:
        return None
    beside = checkpoint.path.parent / _FOLDER if checkpoint.path.name == _FINAL else checkpoint.path.parent
    try:
        found = read_checkpoint(beside / _INITIAL)
    except LandscapeError:  # moved out of its run folder: not known
        return None
    same = found.description is not None and found.description.get("config_hash") == checkpoint.description.get(
        "config_hash"
    )
    fits = all(name in found.tensors and found.tensors[name].shape == p.shape for name, p in named.items())
    return {name: found.tensors[name] for name in named} if same and fits else None


def _names(state: Mapping[str, Any], named: Mapping[str, Tensor]) -> list[str] | None:
    """The names of the optimizer's parameters in their order; None where they cannot be told apart."""
    groups: Sequence[Mapping[str, Any]] = state["param_groups"]
    given = [name for group in groups for name in group.get("param_names", ())]
    count = sum(len(group["params"]) for group in groups)
    if len(given) == count and all(name in named for name in given):
        return given
    trained = [name for name, p in named.items() if p.requires_grad]
    return next((names for names in (list(named), trained) if len(names) == count and len(groups) == 1), None)


def _rates(state: Mapping[str, Any], named: Mapping[str, Tensor]) -> dict[str, float]:
    names = _names(state, named)
    if names is None:
        rates = {float(group["lr"]) for group in state["param_groups"]}
        return dict.fromkeys(named, rates.pop()) if len(rates) == 1 else {}
    of_each = [float(group["lr"]) for group in state["param_groups"] for _ in group["params"]]
    return dict(zip(names, of_each, strict=True))


def _adam(state: Mapping[str, Any], named: Mapping[str, Tensor]) -> AdamState | None:
    names = _names(state, named)
    group = state["param_groups"][0]
    if names is None or "betas" not in group or "eps" not in group or len(state["param_groups"]) != 1:
        return None
    moments: dict[str, Tensor] = {}
    steps = set()
    for index, name in zip(group["params"], names, strict=True):
        entry = state["state"].get(index, {})
        v = entry.get("max_exp_avg_sq", entry.get("exp_avg_sq"))
        if not isinstance(v, Tensor) or v.shape != named[name].shape or "step" not in entry:
            return None
        moments[name] = v.detach()
        steps.add(int(torch.as_tensor(entry["step"])))
    if len(steps) != 1 or not moments:
        return None
    beta1, beta2 = map(float, group["betas"])
    return AdamState(moments, steps.pop(), beta1, beta2, float(group["eps"]), float(group["lr"]))
