"""Further places for the history and the track of a run, by name: TensorBoard, Weights & Biases.

The CSV files of the run folder are always written, by the run itself: only they are resumed and read back.
"""

from landscape.training.loggers.listening import LOGGERS, Log
from landscape.training.loggers.logger import Logger

__all__ = ["LOGGERS", "Log", "Logger"]
