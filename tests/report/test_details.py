"""What the report says of a measure besides its value."""

import math

from landscape.records import Analysis, Record
from landscape.report.details import details


def test_an_undefined_number_is_left_out() -> None:
    record = Record(1.0, details={"steps": 1, "gap": math.nan})
    rows = details("sam_sharpness", record, Analysis({"sam_sharpness": record}, problem={}, settings={}))
    assert rows == [("steps", "1")]
