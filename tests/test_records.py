"""Records and the analysis document: a stable form that says only what JSON can say."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape import Analysis, Record
from landscape.errors import OptionError, WriteError
from landscape.records import SCHEMA

numbers = st.floats(allow_nan=True, allow_infinity=True)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = {
    "value", "stderr", "sampling_stderr", "converged", "cost", "seconds", "peak_memory", "groups", "skipped", "details",
}  # fmt: skip
records = st.builds(
    Record,
    value=numbers,
    stderr=numbers,
    sampling_stderr=numbers,
    converged=st.booleans(),
    cost=numbers,
    seconds=numbers,
    peak_memory=st.none() | st.integers(min_value=0),
    groups=st.dictionaries(st.text(max_size=5), numbers, max_size=3),
    details=st.dictionaries(st.text(max_size=5).filter(lambda k: k not in FIELDS), plain, max_size=3),
)


@settings(max_examples=50, deadline=None)
@given(records)
def test_a_record_survives_the_document(record: Record) -> None:
    text = json.dumps(record.to_dict(), allow_nan=False)
    again = Record.from_dict(json.loads(text))
    assert again.to_dict() == record.to_dict()
    for name in ("value", "stderr", "sampling_stderr", "cost", "seconds"):
        before, after = getattr(record, name), getattr(again, name)
        assert after == before if math.isfinite(before) else math.isnan(after)


def test_not_a_number_and_infinity_are_null() -> None:
    record = Record(
        math.nan, math.inf, -math.inf, groups={"a": math.nan}, details={"list": [1.0, math.nan, (math.inf,)]}
    )
    values = record.to_dict()
    assert (values["value"], values["stderr"], values["sampling_stderr"]) == (None, None, None)
    assert values["groups"] == {"a": None}
    assert values["list"] == [1.0, None, [None]]
    assert math.isnan(Record.from_dict(values).groups["a"])


def test_a_record_knows_nothing_it_was_not_told() -> None:
    record = Record(1.0)
    assert math.isnan(record.stderr)
    assert math.isnan(record.sampling_stderr)


def test_a_skipped_measure_is_its_reason_alone() -> None:
    record = Record.skip("the loss defines no label distribution")
    assert record.to_dict() == {"value": None, "skipped": "the loss defines no label distribution"}
    again = Record.from_dict(record.to_dict())
    assert again.skipped == record.skipped
    assert math.isnan(again.value)
    assert not again.converged


@pytest.mark.parametrize("key", ["value", "stderr", "groups", "cost", "skipped"])
def test_details_may_not_shadow_a_field(key: str) -> None:
    with pytest.raises(AssertionError, match="shadow"):
        Record(1.0, details={key: 0}).to_dict()


@pytest.mark.parametrize("value", [np.int64(3), np.zeros(2), {1, 2}, object()])
def test_only_plain_values(value: Any) -> None:
    with pytest.raises(TypeError, match="plain values"):
        Record(1.0, details={"x": value}).to_dict()


def analysis() -> Analysis:
    return Analysis(
        measures={"margin": Record(0.25, 0.0, 0.01, details={"q1": 0.1}), "fisher_rao": Record.skip("why")},
        problem={"samples": 3, "accuracy": math.nan, "file": Path("a") / "b"},
        settings={"rtol": 0.05, "measures": ("margin", "fisher_rao")},
        checkpoint={"path": "x.pt"},
        total={"cost": 2.0, "seconds": 0.5},
        provenance={"torch": "2"},
    )


def test_the_document_has_the_promised_form() -> None:
    document = json.loads(analysis().to_json())
    assert list(document)[:5] == ["schema", "checkpoint", "problem", "settings", "measures"]
    assert document["schema"] == SCHEMA == "landscape.analysis/1"
    assert document["measures"]["margin"] == {
        "value": 0.25,
        "stderr": 0.0,
        "sampling_stderr": 0.01,
        "converged": True,
        "cost": 0.0,
        "seconds": 0.0,
        "peak_memory": None,
        "groups": {},
        "q1": 0.1,
    }
    assert document["problem"] == {"samples": 3, "accuracy": None, "file": "a/b"}
    assert analysis().to_json().endswith("}\n")
    assert Analysis.from_dict(document).to_json() == analysis().to_json()


@pytest.mark.parametrize("schema", [None, "landscape.analysis/2", 1])
def test_another_schema_is_refused(schema: Any) -> None:
    document = {**analysis().to_dict(), "schema": schema}
    with pytest.raises(OptionError, match=r"expected a document of schema landscape.analysis/1, got .*make it again"):
        Analysis.from_dict(document)


def test_it_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    analysis().write(path)
    assert path.read_text() == analysis().to_json()
    with pytest.raises(WriteError):
        analysis().write(path / "below.json")
