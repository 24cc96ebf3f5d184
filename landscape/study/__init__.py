"""Statistics over several networks: comparisons of runs with their errors, and which measure goes with which outcome.

Knows no torch and draws nothing.
"""
