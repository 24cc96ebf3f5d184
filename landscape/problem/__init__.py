"""The function L(theta; D): a network, a per-sample loss, named parameters and a fixed finite data set."""

from landscape.distributed import check_device
from landscape.problem.problem import Batch, Problem, Theta
from landscape.problem.reading import READINGS, Reading
from landscape.problem.sizes import BLOCK, BN_GROUP

__all__ = ["BLOCK", "BN_GROUP", "READINGS", "Batch", "Problem", "Reading", "Theta", "check_device"]
