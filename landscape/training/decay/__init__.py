"""Weight decay: which tensors (`policies.py`), by how much (`plan.py`, `adaptive_beta.py`), how (`applying.py`)."""
