"""The settings of a study of gradients against batch size."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from landscape.config.settings import Settings
from landscape.errors import OptionError

SMALLEST = 32


class BatchScalingSettings(Settings):
    """What decides the values.

    Attributes:
        batch_sizes: numbers and `all`, comma-separated; None: 32, 64, 128 ... and all samples.
        by: the substructures that the values are split into, as in an analysis.
        lr: the learning rate of the strides; None: that which the checkpoint was trained with, else 1.
        lr_scaling: how the rate grows with the batch size, from `lr` at `lr_batch`.
        lr_batch: None: the batch size that the checkpoint was trained with, else the smallest.
        split, samples, seed, dtype: as in an analysis; the seed shuffles the samples too.
        bn: as in an analysis; with `train` statistics are of groups of 128 samples.
    """

    batch_sizes: str | None = None
    by: str = "role"
    lr: float | None = Field(default=None, gt=0)
    lr_scaling: Literal["linear", "sqrt"] | None = None
    lr_batch: int | None = Field(default=None, ge=1)
    split: str = "train"
    samples: str | None = None
    seed: int = Field(default=0, ge=0)
    dtype: Literal["float32", "float64"] = "float32"
    bn: Literal["eval", "train"] = "eval"

    def sizes(self, samples: int) -> list[int]:
        """The batch sizes where there are so many samples.

        Raises:
            OptionError: a word is no number and not `all`, or there is one size alone.
        """
        if self.batch_sizes is None:
            least = 128 if self.bn == "train" else SMALLEST
            found = [least * 2**k for k in range(samples.bit_length()) if least * 2**k <= samples]
            found.append(samples)
        else:
            words = [word.strip() for word in self.batch_sizes.split(",")]
            for word in words:
                if word != "all" and not (word.isascii() and word.isdecimal() and int(word) > 0):
                    raise OptionError(
                        f"--batch-sizes: expected numbers from 1 on and all, comma-separated, got {word!r}."
                    )
            found = [samples if word == "all" else int(word) for word in words]
        distinct = sorted(set(found))
        if len(distinct) < 2:
            raise OptionError(
                f"--batch-sizes: expected two sizes or more, of up to {samples} samples, got {distinct[0]} alone."
            )
        return distinct
