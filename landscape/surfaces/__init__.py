"""Slices of the loss: lines, curves and planes in the space of parameters, and the values on a grid over them."""
