"""The catalog's entries are complete, and its formulas typeset and say what the plain text says."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import typst

from landscape.catalog import CATALOG, PRESETS, expand

NAMES = tuple(CATALOG)
DEFAULT = (
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
    assert NAMES[: len(DEFAULT)] == DEFAULT == PRESETS["default"]
    assert PRESETS["all"] == NAMES
    assert set(PRESETS["quick"]) <= set(DEFAULT) <= set(PRESETS["paper"])
    assert all(name == about.name for name, about in CATALOG.items())
    assert all(set(about.presets) <= {"quick", "default", "paper"} for about in CATALOG.values())


def test_presets_and_names_expand_to_measures_once_each():
    assert expand([]) == DEFAULT
    assert expand(["margin", "quick", "margin", "unknown"]) == (
        "margin", "fisher_rao", "connectivity", "connectivity_batch", "jacobian_norm", "unknown",
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_empty(name):
    about = CATALOG[name]
    for field in dataclasses.fields(about):
        value = getattr(about, field.name)
        assert isinstance(value, (bool, tuple)) or value.strip() == value != "", field.name
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


# Which measures satisfy sum over groups = whole, which use the labels, which are refused under batch statistics, which
# rho leaves as they are and which differentiate twice: facts of the definitions in METHODS section 1.
@pytest.mark.parametrize(
    ("attribute", "names"),
    [
        ("additive", {"hessian_trace", "top_eigenvalues", "connectivity", "connectivity_batch"}),
        ("needs_labels", set(DEFAULT) - {"fisher_rao", "jacobian_norm"}),
        ("per_sample", {"connectivity", "fisher_rao", "margin", "jacobian_norm"}),
        ("rho_invariant", set(DEFAULT) - {"hessian_trace", "top_eigenvalues", "spectral_density"}),
        ("of_function", {"margin", "jacobian_norm"}),
        ("second_derivative", {"hessian_trace", "top_eigenvalues", "spectral_density"}),
    ],
)
def test_properties(attribute, names):
    assert {name for name in DEFAULT if getattr(CATALOG[name], attribute)} == names


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
