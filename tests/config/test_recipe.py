"""Recipes, overrides and validation: what the YAML says comes out, and each mistake is named."""

import hashlib

import pytest

from landscape.config.analysis import AnalysisSettings
from landscape.config.recipe import apply_overrides, digest, read_recipe, validate
from landscape.config.training import TrainConfig
from landscape.errors import OptionError


@pytest.fixture
def recipe(tmp_path):
    def write(text):
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return path

    return write


def test_reads_plain_values(recipe):
    assert read_recipe(recipe("model: resnet20:width=2\nlr: 0.5\nepochs: 3\n")) == {
        "model": "resnet20:width=2",
        "lr": 0.5,
        "epochs": 3,
    }


def test_an_empty_recipe_holds_nothing(recipe):
    assert read_recipe(recipe("# nothing\n")) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lr: 0.1\nepochs: }\nseed: 2\n", "line 2"),
        ("lr: 0.1\nlr: 0.2\n", "line 2.*'lr' is set twice"),
        ("lr: !!python/object/apply:os.getcwd []\n", "line 1"),
        ("- lr\n- seed\n", "setting: value.*list"),
        ("3: 4\n", "setting: value"),
        ("lr: \x00\n", "YAML"),
    ],
)
def test_a_bad_recipe_is_refused_with_its_line(recipe, text, words):
    path = recipe(text)
    with pytest.raises(OptionError, match=words) as error:
        read_recipe(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_or_binary_recipe_is_refused(tmp_path):
    with pytest.raises(OptionError, match="no recipe"):
        read_recipe(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(OptionError, match="cannot read"):
        read_recipe(tmp_path / "binary.yaml")
    with pytest.raises(OptionError, match="cannot read"):
        read_recipe(tmp_path)


def test_overrides_are_typed_and_the_last_wins():
    base = {"lr": 0.1, "seed": 0}
    changed = apply_overrides(base, ["lr=1", "lr=0.5", "model=resnet20:width=2", "momentum=null", "data=cifar10:/a=b"])
    assert changed == {"lr": 0.5, "seed": 0, "model": "resnet20:width=2", "momentum": None, "data": "cifar10:/a=b"}
    assert base == {"lr": 0.1, "seed": 0}


@pytest.mark.parametrize("override", ["lr", "=3", " =3", "lr={", "lr=2020-13-45"])
def test_a_malformed_override_is_refused(override):
    with pytest.raises(OptionError, match=r"key=value|is no YAML"):
        apply_overrides({}, [override])


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        (TrainConfig, {"epoch": 3}, "unknown setting 'epoch'. Did you mean epochs"),
        (TrainConfig, {"batchsize": 3}, "Did you mean batch_size"),
        (TrainConfig, {"lr": -1}, "lr: expected a value greater than 0, got -1."),
        (TrainConfig, {"lr": float("inf")}, "lr: expected a finite number, got inf."),
        (TrainConfig, {"lr": "fast"}, "lr: expected a valid number"),
        (TrainConfig, {"momentum": 1}, "momentum: expected a value less than 1, got 1."),
        (TrainConfig, {"epochs": 1.5}, "epochs: expected a valid integer"),
        (TrainConfig, {"dtype": "float46"}, "dtype: expected 'float32' or 'float64', got 'float46'. Did you mean"),
        (TrainConfig, {"model": None}, "model: expected a valid string, got None."),
        (AnalysisSettings, {"samples": "some"}, "samples: expected a positive count, first:N or all, got 'some'."),
        (AnalysisSettings, {"bn": "zzz"}, "bn: expected 'eval' or 'train', got 'zzz'."),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_expected(kind, values, words):
    with pytest.raises(OptionError) as error:
        validate(kind, values)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_all_faults_are_told_at_once():
    with pytest.raises(OptionError, match=r"lr: .*unknown setting 'epoch'"):
        validate(TrainConfig, {"lr": -1, "epoch": 2})


def test_yaml_numbers_without_a_point_are_numbers():
    # YAML 1.1 reads 1e-3 as text; a user means the number.
    assert validate(TrainConfig, apply_overrides({}, ["lr=1e-3"])).lr == 1e-3


def test_digest_is_sha256_of_sorted_compact_json():
    assert digest({"b": 1, "a": [0.5, None]}) == hashlib.sha256(b'{"a":[0.5,null],"b":1}').hexdigest()
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})
