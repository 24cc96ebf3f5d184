"""Figures: one a file, one shared style (`style`). Plain values in, `matplotlib.figure.Figure` out; knows no torch.

Figures are drawn at their final size for a page of A4 and hold no global state: pyplot is never imported.
"""
