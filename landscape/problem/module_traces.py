"""What each module of a network got and gave in one pass: to find the module that two passes differ in.

The passes run on a copy, in evaluation mode, and leave the generators as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from landscape.problem.running import differentiable_kernels, duplicate, evaluation_mode

Trace = Mapping[str, tuple[list[Tensor], list[Tensor]]]
"""Name and class of a module -> its inputs and outputs, in the order in which modules end."""


def call(model: nn.Module, inputs: Any) -> Any:
    """`model` on a batch's inputs: a tensor, a tuple or list of arguments, or a dict of keywords."""
    inputs = tree_map(lambda t: t.clone() if isinstance(t, Tensor) else t, inputs)  # it may begin in place
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)


def module_trace(model: nn.Module, inputs: Any, *, seed: int = 0, bn: Literal["eval", "train"] = "eval") -> Trace:
    """The inputs and outputs of every module of a copy of `model` in one pass.

    Args:
        model: the network, on the device and in the dtype of the inputs.
        inputs: as `call` takes them.
        seed: of torch's generator during the pass.
        bn: which statistics normalise.

    Cost: a forward pass; memory for all activations.
    """
    twin = duplicate(model)
    names = {module: name for name, module in twin.named_modules()}
    seen: dict[str, tuple[list[Tensor], list[Tensor]]] = {}

    def note(module: nn.Module, inputs: Any, keywords: Any, outputs: Any) -> None:
        name = f"{names[module] or 'the model itself'} ({type(module).__name__})"
        while name in seen:
            name += ", again"
        seen[name] = (_tensors((inputs, keywords)), _tensors(outputs))

    for module in twin.modules():
        module.register_forward_hook(note, with_kwargs=True)
    with torch.random.fork_rng(), torch.no_grad(), evaluation_mode(twin, bn), differentiable_kernels(twin):
        torch.manual_seed(seed)
        call(twin, inputs)
    return seen


def first_difference(a: Trace, b: Trace, same: Callable[[Tensor, Tensor], bool] = torch.equal) -> str | None:
    """The first module that got the same inputs in two passes and gave other outputs; None where there is none."""
    for name in a:
        if name in b:
            (inputs, outputs), (others, results) = a[name], b[name]
            if all(map(same, inputs, others)) and not all(map(same, outputs, results)):
                return name
    return None


def random_module(model: nn.Module, inputs: Any, *, bn: Literal["eval", "train"] = "eval") -> str:
    """Which module is random in evaluation mode, and whether by the generator, in words; empty if none is."""
    first, again, other = (module_trace(model, inputs, seed=seed, bn=bn) for seed in (0, 0, 1))
    module = first_difference(first, other)
    if module is None:
        return ""
    if first_difference(first, again) is None:
        return (
            f"{module} draws random numbers in evaluation mode: dropout that stays active (F.dropout without "
            "training=self.training), or augmentation inside the model"
        )
    return f"{module} gives other bits for the same inputs: a non-deterministic kernel"


def _tensors(tree: Any) -> list[Tensor]:
    return [t.detach().clone() for t in tree_leaves(tree) if isinstance(t, Tensor)]
