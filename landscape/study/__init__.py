"""Statistics over several networks: comparisons of runs with their errors. Knows no torch and draws nothing."""
