"""Fixed subsets: the same samples for the same seed, whatever else was drawn before."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.errors import DataError, OptionError


def choose_samples(total: int, how: str, seed: int) -> Tensor:
    """Choose among samples 0 ... total-1; int64 indices in ascending order.

    `how` is `all`, `first:N` (the first N) or `N` (N drawn without replacement by a generator of its own from
    `seed`; the subset of a smaller N is contained in that of a larger one).

    Raises:
        OptionError: `how` has another form or asks for none.
        DataError: there are fewer than N samples, or none at all.
    """
    if total < 1:
        raise DataError("expected samples to choose from, got none.")
    if how == "all":
        return torch.arange(total)
    number = how.removeprefix("first:")
    if not (number.isascii() and number.isdigit()) or int(number) == 0:
        raise OptionError(f"samples: expected a count of at least 1, first:N or all, got {how!r}.")
    count = int(number)
    if count > total:
        raise DataError(f"samples: expected at most {total}, as many as the split has, got {count}; or say all.")
    if how.startswith("first:"):
        return torch.arange(count)
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(total, generator=generator)[:count].sort().values
