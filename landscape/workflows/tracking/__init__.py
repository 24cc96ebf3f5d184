"""Following the landscape while a network trains: quantities by name, and the tracker that measures them."""

from landscape.workflows.tracking.quantities import QUANTITIES
from landscape.workflows.tracking.tracker import Tracker

__all__ = ["QUANTITIES", "Tracker"]
