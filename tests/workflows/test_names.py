"""Short names that tell files apart."""

import pytest

from landscape.workflows.names import short_names


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/runs/a/final.pt"], ["final.pt"]),
        (["/runs/a/final.pt", "/runs/b/final.pt"], ["a/final.pt", "b/final.pt"]),
        (["/x/a/final.pt", "/y/a/final.pt", "/y/a/0.pt"], ["x/a/final.pt", "y/a/final.pt", "0.pt"]),
        (["a.pt", "a.pt"], ["a.pt (1)", "a.pt (2)"]),
        (["a.pt", "x/a.pt"], ["a.pt", "x/a.pt"]),
    ],
)
def test_short_names(paths, names):
    assert short_names(paths) == names
