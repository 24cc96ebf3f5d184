from __future__ import annotations

import pytest

from landscape.errors import OptionError
from landscape.models import MODELS, ModelSpec, parse_model


@pytest.mark.parametrize(
    ("text", "name", "options", "canonical"),
    [
        ("resnet20", "resnet20", {}, "resnet20"),
        (
            "resnet20:width=2,shortcut=projection",
            "resnet20",
            {"width": 2.0, "shortcut": "projection"},
            "resnet20:shortcut=projection,width=2",
        ),
        (
            "vgg11-bn: width=0.125 , classes=7",
            "vgg11-bn",
            {"width": 0.125, "classes": 7},
            "vgg11-bn:classes=7,width=0.125",
        ),
        (
            "mlp:depth=2,bias=false,activation=tanh,width=64",
            "mlp",
            {"depth": 2, "bias": False, "activation": "tanh", "width": 64},
            "mlp:activation=tanh,bias=false,depth=2,width=64",
        ),
        ("my.package:make_net", "my.package:make_net", {}, "my.package:make_net"),
    ],
)
def test_text_form_and_back(text: str, name: str, options: dict[str, object], canonical: str) -> None:
    spec = parse_model(text)
    assert spec == ModelSpec(name, options)
    assert {key: type(value) for key, value in spec.options.items()} == {k: type(v) for k, v in options.items()}
    assert str(spec) == canonical
    assert parse_model(canonical) == spec
    assert spec.is_factory == (name not in MODELS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("resnet21", "unknown model 'resnet21'. Did you mean .*resnet20"),
        ("resnet20:widht=2", "no option 'widht'. Did you mean width"),
        ("resnet20:size=32", "no option 'size'"),
        ("resnet20:shortcut=padd", "shortcut: expected one of pad, projection, got 'padd'"),
        ("resnet20:pad", "expected key=value, got 'pad'"),
        ("resnet20:", "expected options after the colon"),
        ("resnet20:width=2,width=3", "'width' is given twice"),
        ("resnet20:width=wide", "width: expected a number above 0, got 'wide'"),
        ("resnet20:width=nan", "width: expected a number above 0, got 'nan'"),
        ("resnet20:width=-1", "width: expected a number above 0, got '-1'"),
        ("resnet20:classes=2.5", "classes: expected a whole number above 0, got '2.5'"),
        ("resnet20:classes=0", "classes: expected a whole number above 0, got '0'"),
        ("mlp:bias=yes", "bias: expected true or false, got 'yes'"),
        ("resnt:width=2", "unknown model 'resnt'"),
        ("my-net:make", "unknown model 'my-net'"),
        ("", "unknown model ''"),
    ],
)
def test_errors_name_what_came_and_what_is_near(text: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        parse_model(text)
