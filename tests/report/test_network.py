"""What the part on a network says: the numbers of its tables, where they come from, a section on each measure."""

from __future__ import annotations

import dataclasses
import math

import pytest
from sample_analysis import resnet_tensors, synthetic_analysis

from landscape.catalog import CATALOG
from landscape.records import Record
from landscape.report.blocks import (
    Explained,
    Facts,
    Figures,
    Formula,
    Heading,
    Headline,
    Prose,
    Table,
    Together,
    Values,
    as_cell,
)
from landscape.report.network import network_part
from landscape.report.prose import Span, spans, unbroken
from landscape.report.substructures import COLUMNS, substructures


def walk(blocks):
    for block in blocks:
        yield block
        if isinstance(block, Together):
            yield from walk(block.blocks)


def part_of(analysis):
    return network_part(analysis, title="net.pt")


def sections(part):
    """The blocks of each measure's section by the key of its heading."""
    found, key = {}, ""
    for block in walk(part.blocks):
        if isinstance(block, Heading) and block.level == 2:
            key = block.key.removeprefix("network-")
        elif not isinstance(block, Together):
            found.setdefault(key, []).append(block)
    return found


def summary(part):
    (table,) = [block for block in sections(part)["summary"] if isinstance(block, Table)][:1]
    return {as_cell(row[0]).text: [as_cell(cell) for cell in row[1:]] for row in table.rows}


def test_the_summary_tells_value_errors_and_what_was_skipped():
    part = part_of(synthetic_analysis(replace={"margin": Record.skip("no classes")}))
    rows = summary(part)
    trace = rows["Hessian trace"]
    assert [cell.text for cell in trace[:4]] == ["2431", "32", "120", "yes"]
    assert rows["Connectivity sharpness"][1].text == "exact"
    assert (rows["Spectral density of the Hessian"][3].text, rows["Spectral density of the Hessian"][3].mark) == (
        "no",
        "bad",
    )
    assert rows["Normalised input margins"][0].text == "skipped"
    told = sections(part)
    assert "margin" not in told
    assert any(
        b.lead == "Normalised input margins" and "no classes" in b.text for b in told["summary"] if isinstance(b, Prose)
    )
    warned = [key for key, blocks in told.items() for b in blocks if isinstance(b, Prose) and b.kind == "warning"]
    assert warned == ["spectral_density"]


def test_the_summary_leads_to_the_sections():
    part = part_of(synthetic_analysis(replace={"margin": Record.skip("no classes")}))
    (table,) = [block for block in sections(part)["summary"] if isinstance(block, Table)][:1]
    links = {as_cell(row[0]).link for row in table.rows} - {""}
    assert links == {block.key for block in walk(part.blocks) if isinstance(block, Heading) and block.key in links}
    assert len(links) == len(table.rows) - 1


def test_facts_tell_where_the_numbers_come_from():
    facts = {
        fact.name: fact
        for block in part_of(synthetic_analysis()).blocks
        if isinstance(block, Facts)
        for fact in block.rows
    }
    assert facts["SHA-256"].text == "3c1d09b6" * 8
    assert facts["SHA-256"].mono
    assert facts["Samples"].text == "512 of 10,000 (chosen: first:512, seed 0)"
    assert facts["Accuracy on them"].text == "91.73 %"
    assert facts["Checkpoint"].text.endswith("resnet20-cifar10.th")
    assert "test accuracy 91.73 %" in facts["Recorded in it"].text


def test_tables_hold_every_layer_and_their_parameters():
    first, table = substructures(synthetic_analysis())
    layers = list(dict.fromkeys(t["layer"] for t in resnet_tensors()))
    assert (first.title, table.title) == ("By role", "By layer")
    assert [row[0] for row in table.table.rows] == layers
    heads = [column.head for column in table.table.columns]
    assert heads == ["", "Parameters", "Hessian trace", "Connectivity sharpness", "Connectivity sharpness of batches"]
    assert table.table.rows[0][1] == "432"


def test_many_measures_take_several_tables_and_none_is_lost():
    names = [f"new_{i}" for i in range(2 * COLUMNS + 1)]
    by_role = [one for one in substructures(synthetic_analysis(only=tuple(names))) if one.title.startswith("By role")]
    assert [one.title for one in by_role] == ["By role", "By role (2 of 3)", "By role (3 of 3)"]
    heads = [column.head for one in by_role for column in one.table.columns if column.head not in ("", "Parameters")]
    assert heads == [f"New {i}" for i in range(2 * COLUMNS + 1)]
    assert all(len(one.table.columns) <= COLUMNS + 2 for one in by_role)


@pytest.mark.parametrize("name", CATALOG)
def test_each_measure_of_the_catalog_is_said_whole(name):
    """Formula, words, numbers and figures come from the catalog and the record, for a measure of any kind."""
    (blocks,) = [b for key, b in sections(part_of(synthetic_analysis(only=(name,)))).items() if key == name]
    about = CATALOG[name]
    kinds = {type(block): block for block in blocks}
    assert kinds[Formula].source == about.formula
    assert [text for _, text in kinds[Explained].columns][0::2] == [about.reading, about.invariances]
    assert about.reference in kinds[Explained].source
    assert about.unit in kinds[Headline].words
    assert len(kinds[Figures].shown) >= 1


def test_a_measure_that_nobody_knows_is_told_from_its_record():
    (blocks,) = [
        b for key, b in sections(part_of(synthetic_analysis(only=("worst_case",)))).items() if key == "worst_case"
    ]
    kinds = {type(block): block for block in blocks}
    assert Formula not in kinds
    assert Explained not in kinds
    told = dict(kinds[Values].rows)
    assert told["radius"] == "0.05000"
    assert told["steps"] == "17"
    assert told["exact"] == "no"
    assert told["kind"] == "worst case"
    assert told["signs"] == "0.5000, −0.2500"
    assert told["parts, first"] == "1.50 ± 0.25"
    assert {"Q1", "median", "Q3"} <= told.keys()
    assert len(kinds[Figures].shown) == 2  # by substructure, and over the samples
    assert summary(part_of(synthetic_analysis(only=("worst_case",))))["Worst case"][0].text == "12.34"


def test_a_value_that_is_a_quartile_is_marked_once():
    analysis = synthetic_analysis(only=("worst_case",))
    record = analysis.measures["worst_case"]
    endings = []
    quartiles = record.details["quantiles"]
    for value in ((quartiles["q1"] + quartiles["median"]) / 2, quartiles["median"]):
        changed = dataclasses.replace(analysis, measures={"worst_case": dataclasses.replace(record, value=value)})
        (figures,) = [block for block in sections(part_of(changed))["worst_case"] if isinstance(block, Figures)]
        endings.append(figures.shown[-1].caption.partition("with ")[2])
    assert endings == ["the quartiles and the value.", "the quartiles."]


def test_a_measure_with_a_bare_number_has_a_section():
    part = part_of(synthetic_analysis(replace={"connectivity": Record(0.3)}, only=("connectivity",)))
    kinds = [type(block) for block in sections(part)["connectivity"]]
    assert kinds == [Headline, Formula, Explained]
    nan = part_of(synthetic_analysis(replace={"connectivity": Record(math.nan)}, only=("connectivity",)))
    assert any(isinstance(b, Prose) and "not a number" in b.text for b in sections(nan)["connectivity"])


def test_a_section_that_is_too_tall_may_break_after_its_first_figure():
    tensors = [
        {"name": f"encoder.blocks.{i}.attention.projection.weight", "role": "linear.weight", "size": 9, "norm": 1.0,
         "layer": f"encoder.blocks.{i}.attention.query_key_value_projection_with_a_long_name"}
        for i in range(12)
    ]  # fmt: skip
    part = part_of(synthetic_analysis(tensors=tensors, only=("connectivity",)))
    (whole,) = [block for block in part.blocks if isinstance(block, Together)]
    after = [block for block in part.blocks if isinstance(block, Figures)]
    assert sum(len(block.shown) for block in (*after, *(b for b in whole.blocks if isinstance(b, Figures)))) == 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("plain", [Span("plain")]),
        ("with f_y − f_j", [Span("with "), Span("f", "y"), Span(" − "), Span("f", "j")]),
        ("θ_s and weight_decay", [Span("θ", "s"), Span(" and weight_decay")]),
        ("C_m / C", [Span("C", "m"), Span(" / C")]),
    ],
)
def test_symbols_have_subscripts_and_names_do_not(text, found):
    assert spans(text) == found


def test_a_number_keeps_its_unit():
    assert unbroken("1.2 ± 0.3, 98.33 %") == "1.2\u00a0±\u00a00.3, 98.33\u00a0%"


def test_groups_are_called_what_they_are():
    """A measure that knows layers alone stands by layer, whatever was asked for."""
    analysis = synthetic_analysis(only=("connectivity", "norms"))
    layers = list(dict.fromkeys(tensor["layer"] for tensor in resnet_tensors()))
    record = Record(1.0, 0.0, groups=dict.fromkeys(layers, 0.5))
    changed = dataclasses.replace(analysis, measures={**analysis.measures, "norms": record})
    heads = {one.title: [column.head for column in one.table.columns] for one in substructures(changed)}
    assert "Norms" not in heads["By role"]
    assert "Norms" in heads["By layer"]
    assert all(len(one.table.rows) == len(layers) for one in substructures(changed) if one.title == "By layer")


def test_a_distribution_over_parameters_is_not_one_over_samples():
    analysis = synthetic_analysis(only=("worst_case",))
    record = analysis.measures["worst_case"]
    details = {**record.details, "histogram": {"edges": [0.0, 1.0, 2.0], "counts": [4000, 500]}}
    changed = dataclasses.replace(analysis, measures={"worst_case": dataclasses.replace(record, details=details)})
    (figures,) = [block for block in sections(part_of(changed))["worst_case"] if isinstance(block, Figures)]
    # 12.34, the value, lies outside and is no place of it
    assert figures.shown[-1].caption == "Distribution over 4,500 values, with the quartiles."
