"""Rules for the norms of weights that feed a batch normalisation, which a run follows besides its optimizer.

Weight rescaling, in place of weight decay: after the optimizer's step, or after the epoch,

    w_i <- c_i w_i,  b_i <- c_i b_i,  mean_i <- c_i mean_i,  var_i <- c_i^2 var_i,      c_i = t_i / ||w_i||

for filter i with its bias, the running statistics of its normalisation and the target t_i: 1, or the norm before any
step. With granularity `layer` one c for the whole layer, from the norm of its weight. The function stays, up to the
normalisation's eps (see `fed_layers`); the optimizer's state (momentum, moments) is left as it is. Never touched:
other layers' weights and biases, the classifier's among them, and the normalisation's own parameters.

*Our reading* of frequency and granularity: each filter, after every step; the first step starts from the initial
weights as they are. A filter of norm 0 stays.

Norm transfer: see `norm_transfer`.

Reference: Liu et al., The implicit biases of stochastic gradient descent on deep neural networks with batch
normalization, arXiv:2102.03497, version 2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

from landscape.config.training import TrainConfig
from landscape.errors import OptionError
from landscape.problem.fed_layers import FedLayer, Granularity, filter_norms, rescale, weight_norms


class NormRule(ABC):
    """What holds the norms of weights that feed a batch normalisation; without state of its own."""

    @abstractmethod
    def after_step(self) -> None:
        """An optimizer's step is taken, its decay with it."""

    @abstractmethod
    def after_epoch(self, epoch: int) -> None:
        """The last step of an epoch (from 1) is taken, and nothing of it is evaluated yet."""


class Rescaling(NormRule):
    """Weight rescaling of `layers`."""

    def __init__(self, layers: Sequence[FedLayer], config: TrainConfig) -> None:
        """Take the targets from the weights as they are now: those before any step.

        Cost of a step with it: two passes over the weights.
        """
        assert config.rescale is not None, "the caller asks"
        self._layers = tuple(layers)
        self._by: Granularity = config.rescale
        self._each_step = config.rescale_every == "step"
        norms = self._norms()
        self._targets = norms if config.rescale_target == "initial" else [torch.ones_like(norm) for norm in norms]

    def after_step(self) -> None:
        """Rescale, if it is done at every step."""
        if self._each_step:
            rescale(self._layers, self._norms(), self._targets)

    def after_epoch(self, epoch: int) -> None:
        """Rescale, if it is done at every epoch."""
        if not self._each_step:
            rescale(self._layers, self._norms(), self._targets)

    def _norms(self) -> list[torch.Tensor]:
        return filter_norms(self._layers) if self._by == "filter" else list(torch.split(weight_norms(self._layers), 1))


def fill_rescaling(config: TrainConfig) -> TrainConfig:
    """Return `config` with the defaults of weight rescaling in place of the options left out.

    Raises:
        OptionError: an option says nothing without `rescale`, or norms are transferred at the same time.
    """
    if config.rescale is None:
        for name in ("rescale_target", "rescale_every"):
            if getattr(config, name) is not None:
                raise OptionError(f"{name} is an option of weight rescaling; set rescale to filter or layer too.")
        return config
    if config.norm_transfer is not None:
        raise OptionError("rescale and norm_transfer both decide the norms of the same weights; leave one out.")
    return config.model_copy(
        update={"rescale_target": config.rescale_target or "unit", "rescale_every": config.rescale_every or "step"}
    )


def must_feed(layers: Sequence[FedLayer], config: TrainConfig, what: str) -> None:
    """Check that the network has layers for `what`.

    Raises:
        OptionError: it has none.
    """
    if not layers:
        raise OptionError(
            f"{what} is for weights that feed a batch normalisation, and network {config.model} has none; "
            "leave it out or choose a network with batch normalisation."
        )
