"""From settings and a network to the lambda of each tensor, refusing what would decay nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from landscape.config.training import TrainConfig
from landscape.errors import OptionError
from landscape.parameters import ParameterInfo
from landscape.training.choices import choose, options_of
from landscape.training.decay.adaptive_beta import NormLayer, norm_layers
from landscape.training.decay.policies import DECAYS, DecayPolicy, top_layer


@dataclass(frozen=True)
class DecayPlan:
    """What is decayed, apart from how it enters the step.

    Attributes:
        fixed: the lambda of each tensor that is decayed at every step, > 0.
        layers: the normalisation layers whose beta is decayed in some steps only.
        strength: the lambda of those betas, in the steps in which they are decayed.
        threshold: R.
    """

    fixed: Mapping[str, float]
    layers: tuple[NormLayer, ...] = ()
    strength: float = 0.0
    threshold: float = 0.0


def fill_decay(config: TrainConfig) -> TrainConfig:
    """Return `config` with the defaults of its decay policy in place of the options left out.

    `weight_decay` is to be filled in before (None: the optimizer has none).

    Raises:
        OptionError: the policy is unknown, takes no such option, or a setting contradicts it.
    """
    if config.decay is None:
        for name in ("decay_lambda", "decay_threshold"):
            if getattr(config, name) is not None:
                takers = ", ".join(p.name for p in DECAYS.values() if name in p.options.model_fields)
                raise OptionError(f"{name} is an option of a decay policy; choose decay as one of {takers}.")
        if config.decay_mode is not None:
            return fill_decay(config.model_copy(update={"decay": "all"}))
        return config
    policy = choose("decay", config.decay, DECAYS)
    update = options_of("decay", policy, DECAYS, config).model_dump()
    if config.weight_decay is None:
        if policy.name != "none":
            raise OptionError(
                f"optimizer {config.optimizer} has no weight decay, so that decay {policy.name} says nothing of it; "
                "leave decay out or choose another optimizer."
            )
    elif policy.name == "none":
        if config.decay_mode is not None:
            raise OptionError(f"decay none leaves nothing to enter the step as {config.decay_mode}; leave one out.")
        update["weight_decay"] = 0.0
    return config.model_copy(update=update)


def plan_decay(config: TrainConfig, infos: Sequence[ParameterInfo]) -> DecayPlan:
    """Which of the trained tensors `infos` the filled-in `config` decays, and by how much.

    Raises:
        OptionError: the policy is unknown or takes no such option; or it decays nothing in this network.
    """
    assert config.decay is not None, "without a policy the optimizer decays by itself"
    policy = choose("decay", config.decay, DECAYS)
    options: dict[str, Any] = options_of("decay", policy, DECAYS, config).model_dump()
    top = top_layer(infos)
    shares = {info.name: policy.share(info, top) for info in infos}
    base = config.weight_decay or 0.0
    fixed = {name: base for name, share in shares.items() if share == "base" and base > 0}
    own = [name for name, share in shares.items() if share == "own"]
    layers = norm_layers(infos) if policy.adaptive else ()
    _must_decay(policy, base, config, decayed=layers if policy.adaptive else own if options else fixed)
    if policy.adaptive:
        return DecayPlan(fixed, layers, options["decay_lambda"], options["decay_threshold"])
    return DecayPlan(fixed | dict.fromkeys(own, options.get("decay_lambda", 0.0)))


def _must_decay(policy: DecayPolicy, base: float, config: TrainConfig, *, decayed: object) -> None:
    if decayed or policy.name == "none":
        return
    if base == 0 and not policy.options.model_fields:
        raise OptionError(f"decay {policy.name} with weight_decay 0 decays nothing; set weight_decay or decay none.")
    frozen = f" once {config.freeze} is frozen" if config.freeze is not None else ""
    raise OptionError(
        f"decay {policy.name} decays nothing here: network {config.model} has no {policy.target}{frozen}. "
        "Choose another policy or network."
    )
