"""Sharpness and geometry of trained networks."""

__version__ = "0.1.0"
