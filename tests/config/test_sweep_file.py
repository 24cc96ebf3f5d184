"""Sweeps from YAML: which runs, with which names and settings, and what is refused."""

import itertools

import pytest

from landscape.config.sweep import builtin_sweeps, read_sweep, runs_of, with_changes
from landscape.errors import OptionError


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "sweep.yaml"
        path.write_text(text)
        return read_sweep(str(path))

    return write


def test_a_grid_is_every_combination_on_top_of_the_settings(written):
    sweep = written("settings: {epochs: 3, lr: 0.5}\ngrid: {optimizer: [sgd, adam], seed: [0, 1, 2]}\n")
    runs = runs_of(sweep)
    expected = list(itertools.product(["sgd", "adam"], [0, 1, 2]))
    assert [(run.config.optimizer, run.config.seed) for run in runs] == expected
    assert [run.name for run in runs] == [f"optimizer={name},seed={seed}" for name, seed in expected]
    assert {(run.config.epochs, run.config.lr) for run in runs} == {(3, 0.5)}


def test_a_list_has_settings_of_its_own_and_names(written):
    sweep = written(
        "settings: {lr: 0.5}\nruns: [{name: base}, {lr: 0.1}, {lr: null, 'model': 'mlp:width=4,depth=2'}]\n"
    )
    runs = runs_of(sweep)
    assert [run.name for run in runs] == ["base", "lr=0.1", "lr=default,model=mlp-width-4-depth-2"]
    assert [run.config.lr for run in runs] == [0.5, 0.1, None]


def test_a_list_with_a_grid_is_made_at_each_point(written):
    runs = runs_of(written("runs: [{name: a}, {name: b, lr: 0.1}]\ngrid: {seed: [3, 4]}\n"))
    assert [(run.name, run.config.lr, run.config.seed) for run in runs] == [
        ("a,seed=3", None, 3),
        ("a,seed=4", None, 4),
        ("b,seed=3", 0.1, 3),
        ("b,seed=4", 0.1, 4),
    ]


def test_the_small_variant_replaces_settings_and_a_run_its_own(written):
    sweep = written(
        "settings: {epochs: 90, lr: 0.5}\nsmall: {epochs: 2, lr: null}\n"
        "runs: [{name: a}, {name: b, batch_size: 512, small: {batch_size: 8}}]\n"
    )
    full, small = runs_of(sweep), runs_of(sweep, small=True)
    assert [(r.config.epochs, r.config.lr, r.config.batch_size) for r in full] == [(90, 0.5, 64), (90, 0.5, 512)]
    assert [(r.config.epochs, r.config.lr, r.config.batch_size) for r in small] == [(2, None, 64), (2, None, 8)]
    assert [r.name for r in full] == [r.name for r in small] == ["a", "b"]


def test_changes_hold_in_both_variants_and_seeds_are_an_axis(written):
    sweep = with_changes(written("small: {epochs: 2}\nruns: [{lr: 0.1}]\n"), {"epochs": 7}, seeds=2)
    for small in (False, True):
        runs = runs_of(sweep, small=small)
        assert [(run.config.epochs, run.config.seed) for run in runs] == [(7, 0), (7, 1)]


def test_names_that_would_clash_are_told_apart_and_long_ones_are_cut(written):
    runs = runs_of(written("grid: {model: ['mlp:width=4', 'mlp:width-4'], data: [digits]}\n"))
    assert len({run.name for run in runs}) == 2
    long = ",".join(f"width={i}" for i in range(40))
    (run,) = runs_of(written(f"runs: [{{model: '{long}'}}]\n"))
    assert len(run.name) < 140


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("settings: {lr: 0.1}\n", ["neither"]),
        ("grid: {optimiser: [sgd]}\n", ["optimiser", "Did you mean optimizer"]),
        ("gird: {lr: [0.1]}\n", ["gird", "Did you mean grid"]),
        ("grid: {lr: [0.1, -1]}\n", ["run lr=-1", "greater than 0"]),
        ("grid: {lr: []}\n", ["no value of lr"]),
        ("grid: {lr: 0.1}\n", ["list"]),
        ("runs: [{lr: 0.1}]\ngrid: {lr: [0.2]}\n", ["lr", "grid and by a run"]),
        ("runs: [{name: 3}]\n", ["name", "3"]),
        ("runs: [{small: 3}]\n", ["small", "3"]),
    ],
)
def test_what_is_wrong_is_told(written, text, words):
    with pytest.raises(OptionError) as caught:
        runs_of(written(text))
    assert all(word in str(caught.value) for word in words)


def test_refused_changes(written):
    sweep = written("grid: {seed: [0], lr: [0.1]}\n")
    with pytest.raises(OptionError, match="seed is set"):
        with_changes(sweep, {}, seeds=2)
    with pytest.raises(OptionError, match="lr is what the sweep varies"):
        with_changes(sweep, {"lr": 0.2})
    with pytest.raises(OptionError, match="no small variant"):
        runs_of(sweep, small=True)
    with pytest.raises(OptionError, match="no sweep at nowhere"):
        read_sweep("nowhere")


def test_cs_is_the_design_of_section_3_2():
    """The numbers are those of the paper: one baseline, eight ablations, each of one setting."""
    assert "cs" in builtin_sweeps()
    base, *others = (run.config for run in runs_of(read_sweep("cs")))
    paper = {"model": "vgg11", "optimizer": "lamb", "lr": 0.02, "weight_decay": 0.01, "decay": "no-bias"}
    assert {name: getattr(base, name) for name in paper} == paper
    assert (base.batch_size, base.epochs, base.warmup / base.epochs) == (8192, 200, 0.3)
    found = [
        {
            name: (getattr(base, name), getattr(other, name))
            for name in type(base).model_fields
            if name != "micro_batch_size"
        }
        for other in others
    ]
    changed = [{name: new for name, (old, new) in one.items() if old != new} for one in found]
    assert changed == [
        {"batch_size": 512},
        {"batch_size": 2048},
        {"weight_decay": 0.1},
        {"weight_decay": 0.001},
        {"lr": 0.05},
        {"lr": 0.01},
        {"decay": "bias", "decay_lambda": 0.1},
        {"decay": "bias", "decay_lambda": 1.0},
    ]
    small = [run.config for run in runs_of(read_sweep("cs"), small=True)]
    assert len(small) == 9
    assert {config.data for config in small} == {"digits"}
