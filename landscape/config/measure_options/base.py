"""What the settings of one measure have in common."""

from __future__ import annotations

from landscape.config.settings import Settings


class MeasureOptions(Settings):
    """Settings that one measure alone has; each field with its default, its bounds and a description.

    They are set by `--set MEASURE.OPTION=VALUE` and `analyze(options={MEASURE: {OPTION: VALUE}})`, and handed to the
    measure's function as keywords.
    """
