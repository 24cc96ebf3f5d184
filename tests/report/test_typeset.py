"""The PDF as a whole: hostile inputs, determinism, what it says, where it breaks pages, what it imports."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import subprocess
import sys

import pypdf
import pytest
import typst
from sample_analysis import grouped, synthetic_analysis

from landscape import write_report
from landscape.catalog import CATALOG
from landscape.errors import OptionError, WriteError
from landscape.records import Analysis, Record
from landscape.report.blocks import Column, Document, Heading, Part, Prose, Table
from landscape.report.network import network_part
from landscape.report.typeset import inputs, template, typeset

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
    "measures of no catalog": lambda: [synthetic_analysis(only=("worst_case", "margin", "another"))],
    "bare": lambda: [Analysis(measures={"connectivity": Record(0.3)}, problem={}, settings={})],
    "four checkpoints": lambda: [
        *(synthetic_analysis(path=f"runs/{x}/final.pt", only=("connectivity", "margin")) for x in "abc"),
        undefined(),
    ],
}


def document_of(analysis: Analysis) -> Document:
    return Document("net.pt", "A network", [network_part(analysis, title="net.pt")], "0.1.0")


def query(document: Document, selector: str) -> list[dict]:
    return json.loads(typst.query(template(), selector, sys_inputs=inputs(document)))


@pytest.mark.parametrize("name", CASES)
def test_writes_a_pdf(name, tmp_path):
    write_report(CASES[name](), tmp_path / "report.pdf")
    data = (tmp_path / "report.pdf").read_bytes()
    assert data.startswith(b"%PDF-")
    assert data.rstrip().endswith(b"%%EOF")
    assert [path.name for path in tmp_path.iterdir()] == ["report.pdf"]


@pytest.mark.parametrize("name", ["undefined", "hostile names", "measures of no catalog"])
def test_no_warning_from_the_typesetter(name):
    sources = inputs(document_of(CASES[name]()[0]))
    _, warnings = typst.compile_with_warnings(template(), sys_inputs=sources, format="pdf")
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


def pages(document: Document) -> list[str]:
    return [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(typeset(document))).pages]


def test_each_measure_takes_a_page_at_most():
    assert len(pages(document_of(synthetic_analysis()))) <= 2 + len(CATALOG)
    for name in (*CATALOG, "worst_case"):
        tables_page = 1
        assert len(pages(document_of(synthetic_analysis(only=(name,))))) <= 2 + tables_page, name


def test_headings_and_names_are_literal_text(tmp_path):
    names = [HOSTILE.replace("/", "") + ".pt", "resnet20-cifar10.th"]
    analyses = [hostile(), synthetic_analysis(only=("margin",))]
    parts = [network_part(a, title=n, key=f"n{i}") for i, (a, n) in enumerate(zip(analyses, names, strict=True))]
    found = query(Document("two", "", parts, "0.1.0"), "heading")
    titles = [heading["body"]["children"][-1]["text"] for heading in found if heading["level"] == 1]
    assert titles == names
    sections = [heading["body"]["text"] for heading in found if heading["level"] == 2]
    expected = [*(CATALOG[name].title for name in analyses[0].measures), CATALOG["margin"].title]
    assert [section for section in sections if section in expected] == expected


def test_contents_name_every_part_and_its_page():
    parts = [Part(f"Part {i}", f"p{i}", [Prose("word " * 900 * i)], summary=f"about {i}") for i in (1, 2, 3)]
    first, *others = pages(Document("Title", "kicker", parts, "0.1.0"))
    told = first.splitlines()[3:]
    for i in (1, 2, 3):
        start = next(number for number, text in enumerate(others, start=2) if f"\n{i} Part {i}\n" in text)
        assert told[3 * (i - 1) : 3 * i] == [f"{i} Part {i}", f"about {i}", str(start)]


def test_one_part_has_no_contents():
    (text,) = pages(Document("Title", "kicker", [Part("Part", "p", [Prose("words")])], "0.1.0"))
    assert "Contents" not in text


def test_a_short_table_stays_on_one_page_and_a_long_one_repeats_its_head():
    columns = [Column("name", "text", 1.0), Column("HEAD", "decimal")]
    above = [Prose("word " * 150)] * 4
    for count, least, most in ((20, 1, 1), (200, 4, 6)):
        rows = [[f"row{i}", f"{i}.5"] for i in range(count)]
        found = pages(Document("T", "", [Part("P", "p", [*above, Heading(2, "Table"), Table(columns, rows)])], "0.1.0"))
        holding = [text for text in found if "row" in text]
        assert least <= len(holding) <= most
        assert all("HEAD" in text for text in holding)


def test_nothing_to_report_on(tmp_path):
    with pytest.raises(OptionError, match="at least one"):
        write_report([], tmp_path / "report.pdf")


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(OptionError, match=r"\.pdf or \.html, got report\.docx"):
        write_report([synthetic_analysis(only=())], tmp_path / "report.docx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".pdf", ".html"])
def test_unwritable_leaves_nothing(tmp_path, ending):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError):
        write_report([synthetic_analysis(only=())], tmp_path / "file" / f"report{ending}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_no_torch_and_light_numbers():
    code = (
        "import landscape.numbers, sys\n"
        "assert 'matplotlib' not in sys.modules and 'typst' not in sys.modules\n"
        "from landscape.report import write_document\n"
        "from landscape import write_report\n"
        "import landscape.plots.margins\n"
        "assert 'torch' not in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
