"""The recipes of the papers: every row is there with the paper's number, and a mistake in a file is named."""

import re
import subprocess
import sys

import pytest

from landscape.config.paper_recipes import paper_recipe, paper_recipes, read_table, recipes_of, recipes_under, tables
from landscape.errors import OptionError

TABLE = """
title: A table
paper: CS
table: table 9
quantity: test accuracy in %
notes: [of all]
common:
  settings: {model: resnet18, data: cifar10, lr: 0.1, micro_batch_size: 512}
  small: {model: mlp, data: digits, micro_batch_size: null}
parts:
  slow: {settings: {lr: 0.01}, small: {lr: 0.02}}
  long: {settings: {epochs: 200}, small: {epochs: 2}}
rows:
  one: {row: the first, expects: 94.5}
  two: {row: the second, parts: [slow, long], settings: {lr: 0.03}, expects: 95, within: 0.2, notes: of this}
study:
  claims: [{more: two, than: one}]
"""

# Section 3 of the specification, typed by hand: the row's name and the paper's number.
NUMBERS = {
    **dict(
        zip(
            (
                f"cs-table3-{row}-{data}"
                for row in ("no-bias-decay", "bn-frozen", "gamma-frozen", "gamma-decay", "beta-frozen", "beta-decay")
                for data in ("cifar10", "cifar100", "imagenet")
            ),
            (
                *(94.49, 76.77, 76.56, 94.64, 77.59, None, 94.47, 76.99, 76.57),
                *(94.46, 77.59, 76.62, 94.87, 77.81, None, 94.90, 77.99, 76.97),
            ),
            strict=True,
        )
    ),
    **dict(
        zip(
            (
                f"cs-table4-{row}-{data}"
                for data in ("cifar10", "cifar100")
                for row in ("b512", "b2048", "b8192", "b8192-beta-decay", "b8192-adaptive")
            ),
            (95.12, 94.59, 94.49, 94.90, 95.01, 78.09, 78.03, 76.77, 77.99, 78.11),
            strict=True,
        )
    ),
    "tp-table2-small-batch": 92.83,
    "tp-table2-large-batch": 90.40,
    "tp-table2-lars": 92.10,
    "tp-table2-two-phase": 92.48,
    "tp-table2-two-phase-lars": 92.66,
    "tp-table1-after-100": 87.72,
    "tp-table1-after-150": 90.23,
    "tp-table1-after-200": 91.43,
    "tp-table1-after-250": 91.40,
    "wd-table2-vgg16-sgd": 564,
    "wd-table2-vgg16-sgd-decay": 142,
    "wd-table2-resnet32-sgd": 2765,
    "wd-table2-resnet32-sgd-decay": 1074,
    "wd-table2-vgg16-kfac-g": 498,
    "wd-table2-vgg16-kfac-g-decay": 51.44,
    "wd-table2-resnet32-kfac-g": 2115,
    "wd-table2-resnet32-kfac-g-decay": 64.16,
}

# Tables of TP with a row a method, and its tables 6 and 7 with a column a data set, as they are printed.
METHODS = ("small-batch", "large-batch", "lars", "two-phase", "two-phase-lars")
TP_LINES = {
    "tp-table3-{}": (METHODS, "81.09 76.89 78.88 78.90 80.34"),
    "tp-table4-{}": (METHODS, "98.55 98.11 98.32 98.29 98.48"),
    "tp-table5-{}": (METHODS, "76.79 74.91 76.15 76.17 76.67"),
    "tp-table6-{}-cifar10": (
        ("extra-20", "extra-30", "extra-40", "extra-50", "longer"),
        "92.03 92.66 92.54 92.03 92.86",
    ),
    "tp-table6-{}-cifar100": (
        ("extra-20", "extra-30", "extra-40", "extra-50", "longer"),
        "78.45 80.34 80.29 78.84 80.56",
    ),
    "tp-table7-{}-cifar10": (
        ("factor-03", "factor-04", "factor-05", "factor-06", "factor-07"),
        "92.31 92.63 92.66 92.18 91.46",
    ),
    "tp-table7-{}-cifar100": (
        ("factor-03", "factor-04", "factor-05", "factor-06", "factor-07"),
        "79.71 80.03 80.34 79.64 77.23",
    ),
    "cs-table1-{}": (("b512-no-decay", "b512-decay", "b8192-no-decay", "b8192-decay"), "94.00 94.86 89.84 94.17"),
    "cs-table5-{}": (("b1024", "b32768", "b32768-beta-decay", "b32768-adaptive"), "77.16 76.56 76.97 77.24"),
}

# Table 2 of CS: without decay of biases, with decay of beta.
CS_TABLE2 = {
    "conv.weight": (2.74e-1, 1.80e-1),
    "norm.gamma": (3.88e-2, 1.87e-2),
    "norm.beta": (1.81e-2, 1.39e-3),
    "linear.weight": (3.32e-3, 3.56e-3),
    "linear.bias": (2.00e-5, 1.14e-7),
    "total": (3.34e-1, 2.04e-1),
}

# Table 3 of WD, a line a network and method as it is printed: batch 128, 640, 2000, each without and with decay.
WD_TABLE3 = {
    "vgg16-{}-sgd": "91.71 93.39 90.46 93.09 88.50 92.24",
    "vgg16-{}-kfac-f": "93.12 93.90 92.93 93.55 92.17 93.31",
    "vgg16-{}-kfac-g": "93.19 93.80 92.98 93.74 90.78 93.46",
    "resnet32-{}-sgd": "92.95 95.14 91.68 94.45 89.70 94.68",
    "resnet32-{}-kfac-f": "93.80 95.35 92.30 94.79 91.15 94.43",
    "resnet32-{}-kfac-g": "93.44 95.04 91.80 94.73 90.02 94.85",
    "resnet32-{}-cifar100-sgd": "73.61 77.73 71.74 76.67 65.38 76.87",
    "resnet32-{}-cifar100-kfac-f": "74.49 78.01 73.54 77.34 71.64 77.13",
    "resnet32-{}-cifar100-kfac-g": "73.70 78.02 71.13 77.40 65.41 76.93",
}

# Table 1 of WD, a line a network as it is printed: SGD, Adam, K-FAC-F, K-FAC-G, each without and with decay.
WD_TABLE1 = {
    "vgg16-{}": "83.20 84.87 83.16 84.12 85.58 89.60 83.85 89.81",
    "vgg16-bn-{}": "86.99 88.85 88.45 88.72 87.97 89.02 88.17 89.77",
    "vgg16-bn-aug-{}": "91.71 93.39 92.89 93.62 93.12 93.90 93.19 93.80",
    "resnet32-{}": "85.47 86.63 84.43 87.54 86.82 90.22 85.24 90.64",
    "resnet32-bn-{}": "86.13 90.65 89.46 90.61 89.78 91.24 89.94 90.91",
    "resnet32-bn-aug-{}": "92.95 95.14 93.63 94.66 93.80 95.35 93.44 95.04",
    "vgg16-bn-aug-cifar100-{}": "68.42 73.31 69.88 74.22 71.05 73.36 67.46 73.57",
    "resnet32-bn-aug-cifar100-{}": "73.61 77.73 73.60 77.40 74.49 78.01 73.70 78.02",
}


@pytest.mark.parametrize(("name", "number"), NUMBERS.items())
def test_the_papers_number_stands_beside_the_row(name, number):
    expects = paper_recipe(name).row.expects
    assert expects == number if number is not None else isinstance(expects, str)


@pytest.mark.parametrize(("pattern", "line"), WD_TABLE1.items())
def test_the_rows_of_the_weight_decay_table(pattern, line):
    kinds = [f"{name}{decay}" for name in ("sgd", "adam", "kfac-f", "kfac-g") for decay in ("", "-decay")]
    for kind, number in zip(kinds, line.split(), strict=True):
        recipe = paper_recipe("wd-table1-" + pattern.format(kind))
        assert recipe.row.expects == float(number)
        assert (recipe.settings["weight_decay"] > 0) == kind.endswith("-decay")


@pytest.mark.parametrize(("pattern", "rows", "line"), [(p, *found) for p, found in TP_LINES.items()])
def test_the_rows_of_further_tables(pattern, rows, line):
    assert [paper_recipe(pattern.format(row)).row.expects for row in rows] == [float(word) for word in line.split()]


def test_the_substructures_of_connectivity():
    without, with_decay = (paper_recipe(f"cs-table2-{row}").row.expects for row in ("no-bias-decay", "beta-decay"))
    assert {name: (without[name], with_decay[name]) for name in without} == CS_TABLE2


@pytest.mark.parametrize(("pattern", "line"), WD_TABLE3.items())
def test_the_rows_of_the_table_of_batch_sizes(pattern, line):
    kinds = [(size, decay) for size in (128, 640, 2000) for decay in ("", "-decay")]
    for (size, decay), number in zip(kinds, line.split(), strict=True):
        recipe = paper_recipe(f"wd-table3-{pattern.format(f'b{size}')}{decay}")
        assert recipe.row.expects == float(number)
        assert recipe.settings["batch_size"] == size
        assert (recipe.settings["weight_decay"] > 0) == bool(decay)


def test_every_table_of_the_specification_has_its_file():
    wanted = {"cs-table1", "cs-table2", "cs-table3", "cs-table4", "tp-table1", "tp-table2", "tp-table6", "tp-table7"}
    wanted |= {"wd-table1", "wd-table2", "wd-table3", "wd-figure4", "wr-comparison"}
    wanted |= {"cb-figure9", "cb-figure10", "cb-figure11-14", "cb-figure16"}
    assert wanted <= tables().keys()
    assert len(tables()["wd-table1"].rows) == 64
    assert len(tables()["wd-table3"].rows) == 54


@pytest.mark.parametrize("name", tables())
def test_claims_are_those_of_the_papers_numbers(name):
    rows = tables()[name].rows
    for claim in tables()[name].study.claims:
        more, than = rows[claim.more].expects, rows[claim.than].expects
        if isinstance(more, dict):
            key = claim.of.partition(".")[2] or "total"
            assert more[key] > than[key], claim
        elif isinstance(more, float) and isinstance(than, float) and claim.of in ("test_accuracy", "jacobian_norm"):
            assert more > than, claim


def test_what_the_text_lost_is_marked():
    for table in ("cs-table1", "tp-table2", "tp-table3", "tp-table5", "wd-table1", "cb-figure10", "wr-comparison"):
        assert any("our reading" in note for note in tables()[table].notes), table


def test_a_row_takes_common_parts_and_its_own_in_that_order():
    one, two = recipes_of("cs-table9", read_table(TABLE, "cs-table9.yaml"))
    assert (one.name, two.name) == ("cs-table9-one", "cs-table9-two")
    assert one.settings == {"model": "resnet18", "data": "cifar10", "lr": 0.1, "micro_batch_size": 512}
    assert one.small == {"model": "mlp", "data": "digits", "lr": 0.1}
    assert two.settings["lr"] == 0.03
    assert two.small == {"model": "mlp", "data": "digits", "lr": 0.02, "epochs": 2}
    assert two.notes == ("of all", "of this")
    assert two.config(small=True, seed=7).seed == 7


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("expects: 94.5", "expect: 94.5", "unknown setting 'rows.one.expect'. Did you mean expects"),
        ("expects: 94.5", "row_: 3", "rows.one.expects is missing"),
        ("title: A table", "titel: A table", "unknown setting 'titel'. Did you mean title"),
        ("paper: CS", "paper: SC", "paper: expected 'CS', 'TP'"),
        ("settings: {lr: 0.01}", "setings: {lr: 0.01}", "Did you mean settings"),
        ("parts: [slow, long]", "parts: [slwo, long]", "row two: unknown part 'slwo'. Did you mean slow"),
        ("than: one", "than: onn", "unknown row 'onn'. Did you mean one"),
        ("{more: two, than: one}", "{mor: two, than: one}", "Did you mean more"),
        ("title: A table", "title: }", "line 2"),
    ],
)
def test_a_mistake_in_a_file_is_named(old, new, words):
    with pytest.raises(OptionError) as error:
        read_table(TABLE.replace(old, new), "cs-table9.yaml")
    assert re.sub(r"[\\.]+", ".", words) in re.sub(r"[\\.]+", ".", str(error.value))
    assert str(error.value).startswith("cs-table9.yaml")


def test_a_misspelt_setting_of_a_recipe_is_named():
    (one, _) = recipes_of("cs-table9", read_table(TABLE.replace("lr: 0.1", "lrr: 0.1"), "cs-table9.yaml"))
    with pytest.raises(OptionError, match=r"recipe cs-table9-one: unknown setting 'lrr'. Did you mean .*lr"):
        one.config(small=False)


def test_an_unknown_recipe_is_refused_with_near_names():
    with pytest.raises(OptionError, match=r"unknown recipe 'tp-table2-two-fase'. Did you mean tp-table2-two-phase"):
        paper_recipe("tp-table2-two-fase")
    with pytest.raises(OptionError, match=r"unknown recipe or table 'cs-tabel4'. Did you mean cs-table"):
        recipes_under("cs-tabel4")


@pytest.mark.parametrize("look", [paper_recipe, recipes_under])
def test_where_no_name_is_near_the_list_is_named(look):
    with pytest.raises(OptionError, match=r"'nope'\. landscape recipes lists all\.$"):
        look("nope")


def test_a_table_names_its_recipes():
    assert [recipe.row.row for recipe in recipes_under("cs-table2")] == ["no bias decay", "beta decay (1.0)"]


def test_what_a_recipe_needs_is_a_recipe():
    for recipe in paper_recipes().values():
        assert all(name in paper_recipes() for name in recipe.needs.values())


def test_recipes_are_read_without_torch():
    program = (
        "import sys; from landscape.config.paper_recipes import tables; tables(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
