"""The catalog's entries are complete, and its formulas typeset and say what the plain text says."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import typst

from landscape.catalog import CATALOG

NAMES = (
    "hessian_trace",
    "top_eigenvalues",
    "spectral_density",
    "fisher_rao",
    "connectivity",
    "connectivity_batch",
    "margin",
    "jacobian_norm",
)
PAGES = Path(__file__).resolve().parents[1] / "docs" / "measures"


def test_the_measures_of_an_analysis_in_order():
    assert tuple(CATALOG) == NAMES
    assert all(name == about.name for name, about in CATALOG.items())


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_empty(name):
    about = CATALOG[name]
    for field in dataclasses.fields(about):
        value = getattr(about, field.name)
        assert isinstance(value, bool) or value.strip() == value != "", field.name
    for sentence in (about.reading, about.estimate, about.invariances):
        assert sentence.endswith(".")
    assert "\n" not in about.formula_text


@pytest.mark.parametrize("name", NAMES)
def test_the_formula_typesets_without_a_warning(name):
    source = '#set page(width: 24cm, height: auto)\n#math.equation(block: true, eval(sys.inputs.formula, mode: "math"))'
    pdf, warnings = typst.compile_with_warnings(
        source.encode(), sys_inputs={"formula": CATALOG[name].formula}, format="pdf"
    )
    assert pdf.startswith(b"%PDF")
    assert warnings == []


# Which measures satisfy sum over groups = whole, which use the labels, and which are refused under batch statistics:
# facts of the definitions in METHODS section 1.
@pytest.mark.parametrize(
    ("attribute", "names"),
    [
        ("additive", {"hessian_trace", "top_eigenvalues", "connectivity", "connectivity_batch"}),
        ("needs_labels", set(NAMES) - {"fisher_rao", "jacobian_norm"}),
        ("per_sample", {"connectivity", "fisher_rao", "margin", "jacobian_norm"}),
    ],
)
def test_properties(attribute, names):
    assert {name for name, about in CATALOG.items() if getattr(about, attribute)} == names


@pytest.mark.parametrize("name", NAMES)
def test_each_measure_has_its_page_and_the_index_links_it(name):
    page = (PAGES / f"{name}.md").read_text()
    assert page.startswith("# ")
    assert CATALOG[name].title in page.splitlines()[0]
    for heading in (
        "Definition",
        "How it is estimated",
        "Cost",
        "How to read it",
        "What leaves it unchanged",
        "Reference",
    ):
        assert f"## {heading}" in page, heading
    assert f"({name}.md)" in (PAGES / "README.md").read_text()


def test_no_torch():
    code = "import landscape.catalog, sys; assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
