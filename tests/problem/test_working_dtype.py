"""In which floating type a problem is computed: half-precision weights are measured as the float32 numbers they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import landscape
from landscape import Problem
from landscape.errors import OptionError
from landscape.problem.working_dtype import working_dtype

DATA = torch.linspace(-1, 1, 40).view(10, 4), torch.arange(10) % 3


def network(dtype: torch.dtype) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(4, 3).to(dtype)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_measured_in_single(half: torch.dtype) -> None:
    of_half, of_single = (
        Problem(model, nn.CrossEntropyLoss(), DATA) for model in (network(half), network(half).float())
    )
    assert of_half.dtype == torch.float32
    values = [landscape.analyze(p, ["hessian_trace"]).measures["hessian_trace"].value for p in (of_half, of_single)]
    assert values[0] == values[1]
    assert Problem(network(half), nn.CrossEntropyLoss(), DATA, dtype="float64").dtype == torch.float64


def test_the_widest_type_of_the_parameters_is_kept() -> None:
    wide = [torch.zeros(1, dtype=torch.float32), torch.zeros(1, dtype=torch.float64)]
    assert working_dtype(None, wide) == torch.float64
    assert (
        working_dtype(None, [torch.zeros(1, dtype=torch.bfloat16), torch.zeros(1, dtype=torch.float16)])
        == torch.float32
    )


@pytest.mark.parametrize("wrong", ["bfloat16", "float", torch.float16, torch.int32])
def test_other_types_are_refused_by_name(wrong: torch.dtype | str) -> None:
    with pytest.raises(
        OptionError, match=r"dtype must be 'float32' or 'float64', got '(bfloat16|float|float16|int32)'"
    ):
        Problem(network(torch.float32), nn.CrossEntropyLoss(), DATA, dtype=wrong)


@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_a_checkpoint_in_half_precision_is_loaded(tmp_path: Path, kind: str) -> None:
    """Its tensors are exact in float32, whichever file holds them, and whichever of them are halves."""
    tensors = {name: p.detach() for name, p in network(torch.bfloat16).named_parameters()}
    tensors["bias"] = tensors["bias"].half()
    path = tmp_path / f"half.{kind}"
    if kind == "pt":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    found = landscape.load(path, model=nn.Linear(4, 3), data=DATA)
    assert found.dtype == torch.float32
    for name, tensor in found.parameters.items():
        assert torch.equal(tensor, tensors[name].float())
