"""Training networks: the loop, its state, the optimizers and schedules, the history and the run folder."""
