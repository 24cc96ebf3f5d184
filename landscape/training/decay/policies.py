"""Which tensors a decay policy decays: at lambda (`weight_decay`), at a lambda of its own, or not at all.

The parts of a network are told by the layer that owns a tensor: `weight` and `bias` of convolutions, linear layers and
embeddings, `gamma` and `beta` of a normalisation (BatchNorm, LayerNorm, GroupNorm, InstanceNorm, RMSNorm). A parameter
that no such layer owns is a weight, unless its name ends in `bias`.

| policy | weight | bias | gamma | beta |
|---|---|---|---|---|
| all | lambda | lambda | lambda | lambda |
| no-bias | lambda | - | - | - |
| bias | lambda | own | - | own |
| gamma | lambda | lambda | own | - |
| beta | lambda | lambda | - | own |
| adaptive-beta | lambda | lambda | - | own, in the steps where r_l >= R |
| conv | lambda in convolutions | lambda in convolutions | - | - |
| fc | lambda in the top layer | lambda in the top layer | - | - |
| none | - | - | - | - |

*Our reading*: under gamma, beta and adaptive-beta the biases of other layers are decayed too, as in the paper's
algorithm 1 (lambda for every layer that is no normalisation) and its table 2; bias leaves gamma alone; conv and fc
take the bias of their layers with the weight; the top layer is the last linear one.

Reference: "Bias decay matters", section 4, table 3 and algorithm 1; bias: its section 3.2; conv and fc: Zhang et al.,
Three mechanisms of weight decay regularization, ICLR 2019, figure 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from landscape.parameters import ParameterInfo

Share = Literal["base", "own"] | None


class NoOptions(BaseModel):
    """A policy without a lambda of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GammaOptions(BaseModel):
    """lambda_gamma."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decay_lambda: float = Field(default=0.01, gt=0)


class BetaOptions(BaseModel):
    """lambda_beta, or the lambda of all biases."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decay_lambda: float = Field(default=1.0, gt=0)


class AdaptiveBetaOptions(BaseModel):
    """lambda_beta and the threshold R of r_l."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decay_lambda: float = Field(default=1.0, gt=0)
    decay_threshold: float = Field(default=0.1, ge=0)


@dataclass(frozen=True)
class DecayPolicy:
    """A decay policy by name.

    Attributes:
        name: what `--decay` takes.
        options: a lambda of its own and a threshold, where it has them; each field is one of `TrainConfig`.
        share: (a tensor, the name of the top layer) -> at which lambda the tensor is decayed.
        target: what it is there to decay, in the words of the error of a network without any.
        adaptive: whether the tensors at its own lambda are chosen anew at each step.
    """

    name: str
    options: type[BaseModel]
    share: Callable[[ParameterInfo, str | None], Share]
    target: str
    adaptive: bool = False


def kind(info: ParameterInfo) -> Literal["weight", "bias", "gamma", "beta"]:
    """The part of the network that a tensor is."""
    if info.role == "norm.gamma":
        return "gamma"
    if info.role == "norm.beta":
        return "beta"
    if info.role.endswith(".bias") or (info.role == "other" and info.name.endswith("bias")):
        return "bias"
    return "weight"


def top_layer(infos: Sequence[ParameterInfo]) -> str | None:
    """The name of the last linear layer; None if there is none."""
    return next((info.layer for info in reversed(infos) if info.role == "linear.weight"), None)


def _by_kind(**shares: Share) -> Callable[[ParameterInfo, str | None], Share]:
    return lambda info, top: shares.get(kind(info))


DECAYS: dict[str, DecayPolicy] = {
    policy.name: policy
    for policy in (
        DecayPolicy("all", NoOptions, lambda info, top: "base", "parameters"),
        DecayPolicy("no-bias", NoOptions, _by_kind(weight="base"), "weights"),
        DecayPolicy("bias", BetaOptions, _by_kind(weight="base", bias="own", beta="own"), "biases and no beta"),
        DecayPolicy("gamma", GammaOptions, _by_kind(weight="base", bias="base", gamma="own"), "trained gamma"),
        DecayPolicy("beta", BetaOptions, _by_kind(weight="base", bias="base", beta="own"), "trained beta"),
        DecayPolicy(
            "adaptive-beta",
            AdaptiveBetaOptions,
            _by_kind(weight="base", bias="base", beta="own"),
            "normalisation layer with both gamma and beta trained",
            adaptive=True,
        ),
        DecayPolicy(
            "conv",
            NoOptions,
            lambda info, top: "base" if info.role in ("conv.weight", "conv.bias") else None,
            "convolutions",
        ),
        DecayPolicy("fc", NoOptions, lambda info, top: "base" if info.layer == top else None, "linear layers"),
        DecayPolicy("none", NoOptions, lambda info, top: None, "parameters"),
    )
}
