"""The PDF as a whole: hostile inputs, determinism, what it says, where it breaks pages, what it imports."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from importlib import resources

import pytest
import typst
from sample_analysis import grouped, synthetic_analysis

from landscape.catalog import CATALOG
from landscape.errors import OptionError, WriteError
from landscape.records import Analysis, Record
from landscape.report import write_report
from landscape.report.content import content

NAN = math.nan
HOSTILE = 'layer1.0_[x]#$*`<a> "q" \\ {1} @b //c'


def hostile() -> Analysis:
    """Sixty layers whose names are Typst source."""
    tensors = [
        {"name": f"{HOSTILE}.{i}.weight", "role": "linear.weight", "layer": f"{HOSTILE}.{i}", "size": 9, "norm": 1.0}
        for i in range(60)
    ]
    analysis = synthetic_analysis(path=f"/a folder/{HOSTILE.replace('/', '')}.pt", tensors=tensors)
    by_layer = {
        name: dataclasses.replace(r, groups=grouped(tensors, r.details["tensors"], "layer"))
        if "tensors" in r.details
        else r
        for name, r in analysis.measures.items()
    }
    return dataclasses.replace(analysis, measures=by_layer, settings={**analysis.settings, "by": "layer"})


def undefined() -> Analysis:
    """NaN wherever one can stand, and measures that were skipped."""
    return synthetic_analysis(
        replace={
            "hessian_trace": Record(NAN, NAN, NAN, False, 200.0, 3.0, {"conv.weight": NAN}, {"groups_stderr": {}}),
            "top_eigenvalues": Record(
                NAN,
                NAN,
                NAN,
                False,
                3,
                3,
                {"all": NAN},
                {"eigenvalues": [NAN], "residuals": [NAN], "most_negative": NAN},
            ),
            "spectral_density": Record(NAN, details={"curve": {"x": [0.0], "density": [NAN]}}),
            "fisher_rao": Record.skip("the loss defines no label distribution"),
            "connectivity": Record(3e-9, 0.0, 1e-9, details={"histogram": {"edges": [0.0, 1.0], "counts": [0]}}),
            "connectivity_batch": Record(3e9, 0.0, NAN, groups={"all": 3e9}),
            "margin": Record.skip("the outputs are not class scores"),
            "jacobian_norm": Record(1.5e12, 2e10, details={"exact": False, "classes": 1000, "probes": 16}),
        }
    )


CASES = {
    "ordinary": lambda: [synthetic_analysis()],
    "hostile names": lambda: [hostile()],
    "undefined": lambda: [undefined()],
    "one measure": lambda: [synthetic_analysis(only=("top_eigenvalues",))],
    "no measure": lambda: [synthetic_analysis(only=())],
    "bare": lambda: [Analysis(measures={"connectivity": Record(0.3)}, problem={}, settings={})],
    "four checkpoints": lambda: [
        *(synthetic_analysis(path=f"runs/{x}/final.pt", only=("connectivity", "margin")) for x in "abc"),
        undefined(),
    ],
}


def compile_as(output: str, analyses: list[Analysis]) -> list[bytes] | bytes:
    """The report through Typst's other outputs, which can be counted and searched."""
    template = resources.files("landscape.report").joinpath("template.typ").read_bytes()
    values = json.dumps(content(analyses, None))
    return typst.compile(template, sys_inputs={"content": values}, format=output, ppi=20)


@pytest.mark.parametrize("name", CASES)
def test_writes_a_pdf(name, tmp_path):
    write_report(CASES[name](), tmp_path / "report.pdf")
    data = (tmp_path / "report.pdf").read_bytes()
    assert data.startswith(b"%PDF-")
    assert data.rstrip().endswith(b"%%EOF")
    assert [path.name for path in tmp_path.iterdir()] == ["report.pdf"]


def test_no_warning_from_the_typesetter():
    template = resources.files("landscape.report").joinpath("template.typ").read_bytes()
    values = json.dumps(content(CASES["four checkpoints"](), None))
    _, warnings = typst.compile_with_warnings(template, sys_inputs={"content": values}, format="pdf")
    assert [warning.message for warning in warnings] == []


def test_same_analysis_same_bytes(tmp_path):
    write_report([synthetic_analysis()], tmp_path / "one.pdf")
    write_report([synthetic_analysis()], tmp_path / "folder" / "two.pdf")
    assert (tmp_path / "one.pdf").read_bytes() == (tmp_path / "folder" / "two.pdf").read_bytes()


def test_a_document_read_back_from_json_gives_the_same_report(tmp_path):
    analysis = synthetic_analysis(only=("hessian_trace", "spectral_density", "margin"))
    write_report([analysis], tmp_path / "one.pdf")
    write_report([Analysis.from_dict(json.loads(analysis.to_json()))], tmp_path / "two.pdf")
    assert (tmp_path / "one.pdf").read_bytes() == (tmp_path / "two.pdf").read_bytes()


def test_each_measure_takes_a_page_at_most():
    assert len(compile_as("png", [synthetic_analysis()])) <= 2 + len(CATALOG)
    for name in CATALOG:
        tables_page = 1
        pages = compile_as("png", [synthetic_analysis(only=(name,))])
        assert len(pages) <= 2 + tables_page, name


def test_headings_and_names_are_literal_text():
    template = resources.files("landscape.report").joinpath("template.typ").read_bytes()
    analyses = [hostile(), synthetic_analysis(only=("margin",))]
    values = json.dumps(content(analyses, None))
    found = json.loads(typst.query(template, "heading", sys_inputs={"content": values}))
    titles = [heading["body"]["text"] for heading in found if heading["level"] == 1]
    assert titles == ["Comparison", HOSTILE.replace("/", "") + ".pt", "resnet20-cifar10.th"]
    sections = [heading["body"]["text"] for heading in found if heading["level"] == 2]
    expected = [*(about.title for about in CATALOG.values()), CATALOG["margin"].title]
    assert [section for section in sections if section in expected] == expected


def test_nothing_to_report_on():
    with pytest.raises(OptionError, match="at least one"):
        write_report([], "report.pdf")


def test_unwritable_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError):
        write_report([synthetic_analysis(only=())], tmp_path / "file" / "report.pdf")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_no_torch_and_light_numbers():
    code = (
        "import landscape.report.numbers, sys\n"
        "assert 'matplotlib' not in sys.modules and 'typst' not in sys.modules\n"
        "from landscape.report import write_report\n"
        "import landscape.plots.margins\n"
        "assert 'torch' not in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
