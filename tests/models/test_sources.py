"""Networks of other packages: against stand-ins with the packages' own doors, and the packages where they load."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from landscape.errors import LandscapeError, ModelError, OptionError
from landscape.models import (
    ModelSpec,
    build_model,
    check_trainable,
    image_side,
    image_statistics,
    own_configuration,
    parse_model,
    renamed,
)


class Net(nn.Module):
    """What the stand-ins build; it keeps what it was built with."""

    def __init__(self, num_classes: int = 1000, in_chans: int = 3, image_size: int = 0, img_size: int = 0) -> None:
        super().__init__()
        self.asked = {"num_classes": num_classes, "in_chans": in_chans, "image_size": image_size or img_size}
        self.head = nn.Linear(in_chans, num_classes)


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    package, models = ModuleType("torchvision"), ModuleType("torchvision.models")
    sizes = {"resnet18": [(1, 1)], "alexnet": [(63, 63)], "vit_b_16": [(224, 224)], "new": [], "googlenet": [(15, 15)]}

    def get_model(name: str, weights: Any = None, init_weights: bool | None = None, **options: Any) -> nn.Module:
        assert weights is None
        assert (init_weights is not None) == (name == "googlenet")
        return Net(**options)

    def list_models(module: ModuleType | None = None) -> list[str]:
        return list(sizes) if module is models else [*sizes, "fcn_resnet50"]

    models.get_model, models.list_models = get_model, list_models  # type: ignore[attr-defined]
    models.get_model_weights = lambda name: [  # type: ignore[attr-defined]
        SimpleNamespace(meta={"min_size": size}) for size in sizes[name]
    ]
    package.models = models  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("timm")
    known = {
        "resnet18": SimpleNamespace(input_size=(3, 224, 224), min_input_size=None, fixed_input_size=False),
        "vit_tiny": SimpleNamespace(input_size=(3, 224, 224), min_input_size=None, fixed_input_size=True),
        "inception": SimpleNamespace(input_size=(3, 299, 299), min_input_size=(3, 75, 75), fixed_input_size=False),
        "bare": None,
    }

    def get_pretrained_cfg(name: str) -> Any:
        if name.endswith(".no_such_tag"):
            raise RuntimeError("no such tag")
        return known[name.partition(".")[0]]

    def create_model(name: str, pretrained: bool = True, **options: Any) -> nn.Module:
        assert not pretrained
        return Net(**options)

    package.is_model, package.list_models = known.__contains__, lambda: list(known)  # type: ignore[attr-defined]
    package.create_model = create_model  # type: ignore[attr-defined]
    package.models = SimpleNamespace(get_pretrained_cfg=get_pretrained_cfg)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", package)


class PreTrained(nn.Module):
    """Stands for transformers.PreTrainedModel; files of `Pictures` name its weight `old.weight`."""

    main_input_name = "input_ids"

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.layer = nn.Linear(2, 3, bias=False)

    @classmethod
    def from_pretrained(cls, path: None, *, config: Any, state_dict: dict[str, Tensor], **options: Any) -> Any:
        assert path is None
        assert options["ignore_mismatched_sizes"]
        model = cls(config)
        given = state_dict.pop("old.weight", None)
        wrong = given is not None and given.shape != (3, 2)
        if given is not None and not wrong:
            model.layer.weight.data.copy_(given)
        info = {
            "missing_keys": {"layer.weight"} if given is None else set(),
            "unexpected_keys": set(state_dict),
            "mismatched_keys": {("layer.weight", given.shape, (3, 2))} if wrong and given is not None else set(),
        }
        return model, info


class Pictures(PreTrained):
    main_input_name = "pixel_values"


class Words(PreTrained):
    pass


@pytest.fixture
def transformers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    package, hub = ModuleType("transformers"), ModuleType("huggingface_hub.utils.logging")
    said: list[str] = []

    class AutoConfig:
        @staticmethod
        def from_pretrained(name: str, *, trust_remote_code: bool, local_files_only: bool) -> Any:
            assert trust_remote_code is False
            assert local_files_only == Path(name).is_dir()
            assert said[-1] == "error"
            if not local_files_only:
                raise OSError("cannot reach the hub\nand more")
            values = json.loads((Path(name) / "config.json").read_text())
            if "auto_map" in values:
                raise ValueError("The repository contains custom code; set trust_remote_code=True")
            return SimpleNamespace(**values)

    logging = SimpleNamespace(
        get_verbosity=lambda: "info", set_verbosity=said.append, set_verbosity_error=lambda: said.append("error"),
        is_progress_bar_enabled=lambda: True, disable_progress_bar=lambda: None, enable_progress_bar=lambda: None,
    )  # fmt: skip
    for name, value in vars(logging).items():
        setattr(hub, name, value if name != "set_verbosity" else lambda level: None)
    package.AutoConfig, package.PreTrainedModel = AutoConfig, PreTrained  # type: ignore[attr-defined]
    package.Pictures, package.Words, package.said = Pictures, Words, said  # type: ignore[attr-defined]
    package.utils = SimpleNamespace(logging=logging)  # type: ignore[attr-defined]
    package.trap = lambda config: pytest.fail("called")  # type: ignore[attr-defined]
    for module in (package, hub):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return package


def folder(path: Path, **config: Any) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_the_text_form_and_back() -> None:
    spec = parse_model("timm:vit_tiny.augreg: patch_size=8 , drop=0.5,bias=false,act=gelu,size=32")
    options = {"patch_size": 8, "drop": 0.5, "bias": False, "act": "gelu", "size": 32}
    assert spec == ModelSpec("vit_tiny.augreg", options, "timm")
    assert str(spec) == "timm:vit_tiny.augreg:act=gelu,bias=false,drop=0.5,patch_size=8,size=32"
    assert parse_model(str(spec)) == spec
    assert not spec.is_factory
    assert parse_model("hf:C:/nets/a,b=c") == ModelSpec("C:/nets/a,b=c", {}, "hf")  # a folder may be called anything
    assert str(parse_model("torchvision:resnet18")) == "torchvision:resnet18"
    assert parse_model("torchvision.models:resnet18").is_factory


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("timm:", "expected timm:NAME"),
        ("timm:vit:", "expected timm:NAME or"),
        ("hf:", "expected hf:NAME"),
        ("timm:hf-hub:some/body", "expected key=value, got 'some/body'"),
        ("timm:vit:size=0", "size: expected a whole number above 0"),
        ("timm:vit:a=1,a=2", "'a' is given twice"),
        ("nothing", "of a package: torchvision:NAME, timm:NAME, hf:NAME"),
    ],
)
def test_errors_of_the_text_form(text: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        parse_model(text)


@pytest.mark.usefixtures("torchvision", "timm")
@pytest.mark.parametrize(
    ("text", "given", "side", "channels"),
    [
        ("torchvision:resnet18", 32, 32, 3),
        ("torchvision:alexnet", 32, 63, 3),
        ("torchvision:alexnet", 224, 224, 3),
        ("torchvision:resnet18:size=64", 32, 64, 3),
        ("torchvision:new", 32, 32, 3),
        ("torchvision:googlenet", 32, 32, 3),
        ("torchvision:vit_b_16", 32, 224, 3),
        ("torchvision:vit_b_16:size=32", 32, 32, 3),
        ("torchvision:vit_b_16:image_size=48", 32, 48, 3),
        ("timm:resnet18", 28, 28, 1),
        ("timm:vit_tiny", 28, 224, 1),
        ("timm:vit_tiny.tag:size=28", 28, 28, 1),
        ("timm:vit_tiny:img_size=56", 28, 56, 1),
        ("timm:inception", 28, 75, 1),
        ("timm:bare", 28, 28, 1),
    ],
)
def test_networks_are_built_for_the_data(text: str, given: int, side: int, channels: int) -> None:
    spec, state = parse_model(text), torch.get_rng_state()
    assert image_side(spec, given) == side
    model = build_model(spec, classes=7, channels=channels, size=side)
    assert isinstance(model, Net)
    assert torch.equal(torch.get_rng_state(), state)
    assert (model.asked["num_classes"], model.asked["in_chans"]) == (7, channels)
    fixed = "vit" in text and side != 224
    assert model.asked["image_size"] == (side if fixed else 0)
    check_trainable(ModelSpec(spec.name, {"aux_logits": False}, spec.source))


@pytest.mark.usefixtures("torchvision", "timm")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("torchvision:resnet19", "no classification network 'resnet19'. Did you mean resnet18"),
        ("torchvision:fcn_resnet50", "no classification network"),
        ("torchvision:resnet18:num_classes=3", "num_classes=3, but the data has 7"),
        ("torchvision:resnet18:weights=DEFAULT", "weights come from the checkpoint"),
        ("torchvision:resnet18:zero=1", "cannot be built so: .*unexpected keyword argument 'zero'"),
        ("timm:resnet19", "no network 'resnet19'. Did you mean resnet18"),
        ("timm:resnet18.no_such_tag", "no such tag"),
        ("timm:resnet18:in_chans=4", "in_chans=4, but the data has 1"),
        ("timm:resnet18:pretrained=true", "weights come from the checkpoint"),
        ("torchvision:resnet18", "takes images of 3 channels, the data has 1"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(text: str, said: str) -> None:
    channels = 1 if "timm" in text or text.endswith("18") else 3
    with pytest.raises(ModelError, match=said) as caught:
        build_model(parse_model(text), classes=7, channels=channels, size=32)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("transformers")
def test_a_folder_with_a_configuration_is_a_network(tmp_path: Path) -> None:
    images = folder(tmp_path / "vit", architectures=["Pictures"], model_type="vit", image_size=[8, 8], num_channels=1)
    spec = parse_model(f"hf:{images}")
    assert own_configuration(images) == str(spec)
    assert own_configuration(tmp_path) is None
    assert own_configuration(folder(tmp_path / "t", architecture="resnet18", num_classes=3)) == "timm:resnet18"
    assert image_side(spec, 28) == 8
    assert isinstance(build_model(spec, classes=10, channels=1, size=8), Pictures)
    free = folder(tmp_path / "free", architectures=["Pictures"])
    assert image_side(parse_model(f"hf:{free}"), 28) == 28
    assert image_statistics(spec) is None
    preprocessor = images / "preprocessor_config.json"
    preprocessor.write_text(json.dumps({"image_mean": [0.5], "image_std": [0.25]}))
    assert image_statistics(spec) == ((0.5,), (0.25,))
    preprocessor.write_text(json.dumps({"image_mean": [0.5], "image_std": [0.25], "do_normalize": False}))
    assert image_statistics(spec) is None
    assert image_statistics(parse_model("resnet8")) is None


def test_names_of_older_files_are_translated_and_the_rest_stays(tmp_path: Path, transformers: Any) -> None:
    spec = parse_model(f"hf:{folder(tmp_path / 'vit', architectures=['Pictures'])}")
    model = build_model(spec)
    weight = torch.arange(6.0).view(3, 2)
    assert renamed(spec, model, model.state_dict()).keys() == {"layer.weight"}
    found = renamed(spec, model, {"old.weight": weight})
    assert torch.equal(found["layer.weight"], weight)
    assert renamed(spec, model, {"old.weight": weight, "extra": weight}).keys() == {"layer.weight", "extra"}
    assert renamed(spec, model, {"extra": weight}).keys() == {"extra"}
    assert renamed(spec, model, {"old.weight": torch.ones(4, 2)}).keys() == set()
    assert transformers.said[-1] == "info"  # its own level is back
    plain = {"a": weight}
    assert renamed(parse_model("resnet8"), nn.Linear(1, 1), plain) is plain


HF: dict[str, tuple[dict[str, Any] | None, str, type[LandscapeError]]] = {
    "text": ({"architectures": ["Words"]}, "is a Words, which takes no images; .* --problem FILE", OptionError),
    "no configuration": (None, r"there is no config\.json in that folder", ModelError),
    "no architecture": ({"model_type": "vit"}, "names no architecture", ModelError),
    "code of its own": ({"auto_map": {}, "architectures": ["X"]}, "custom code", ModelError),
    "an unknown class": ({"architectures": ["Mine"]}, "has no network 'Mine'; code .* is not run", ModelError),
    "no network": ({"architectures": ["trap"]}, "has no network 'trap'", ModelError),
}


@pytest.mark.usefixtures("transformers")
@pytest.mark.parametrize("name", HF)
def test_folders_that_are_no_network(tmp_path: Path, name: str) -> None:
    config, said, kind = HF[name]
    (tmp_path / "net").mkdir()
    if config is not None:
        folder(tmp_path / "net", **config)
    with pytest.raises(kind, match=said) as caught:
        image_side(parse_model(f"hf:{tmp_path / 'net'}"), 8)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("transformers")
def test_a_folder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path / "gpt2")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"there is no such folder \(Did you mean gpt2\?\)$"):
        build_model(parse_model("hf:./gpt22"))
    with pytest.raises(ModelError, match=r"gpt2\?\), and no configuration .* hub \(cannot reach the hub\)\.$"):
        build_model(parse_model("hf:gpt22"))


@pytest.mark.usefixtures("transformers", "torchvision")
def test_networks_whose_outputs_are_no_logits_alone_are_not_trained() -> None:
    with pytest.raises(OptionError, match="not trained here"):
        check_trainable(parse_model("hf:any"))
    with pytest.raises(OptionError, match="add aux_logits=false"):
        check_trainable(parse_model("torchvision:googlenet"))


@pytest.mark.parametrize("source", ["torchvision", "timm", "hf"])
def test_a_package_that_is_not_there_or_does_not_load(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = "transformers" if source == "hf" else source
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelError, match=f"not installed: pip install {package}$") as caught:
        build_model(parse_model(f"{source}:some"))
    assert caught.value.exit_code == 2
    (tmp_path / f"{package}.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    monkeypatch.delitem(sys.modules, package)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"does not load beside torch .* \(operator torchvision::nms .*pip install"):
        image_side(parse_model(f"{source}:some"), 32)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


# ------------------------------------------------------------------------------------- the packages, where they load


def real(package: str, *names: str) -> Any:
    try:
        module = importlib.import_module(package)
        assert all(hasattr(module, name) for name in names)
        return module
    except Exception as error:
        pytest.skip(f"{package} is not installed or does not load: {type(error).__name__}")


@pytest.mark.parametrize("text", ["torchvision:resnet18", "torchvision:googlenet", "timm:resnet10t"])
def test_the_packages_own_networks(text: str) -> None:
    real(text.partition(":")[0])
    spec = parse_model(text)
    side = image_side(spec, 32)
    model = build_model(spec, classes=4, channels=3, size=side).eval()
    with torch.no_grad():
        assert model(torch.zeros(2, 3, side, side)).shape == (2, 4)


TINY: dict[str, Callable[[Any], Any]] = {
    "ViT": lambda t: t.ViTForImageClassification(
        t.ViTConfig(image_size=8, patch_size=4, num_channels=1, hidden_size=8, num_hidden_layers=1,
                    num_attention_heads=2, intermediate_size=8, num_labels=10)
    ),
    "GPT-2": lambda t: t.GPT2LMHeadModel(
        t.GPT2Config(vocab_size=11, n_positions=8, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("shards", [False, True])
def test_transformers_own_folders(name: str, shards: bool, tmp_path: Path) -> None:
    """Saved and read back: the same outputs as transformers' own reading gives."""
    from landscape.checkpoint import load_tensors, read_checkpoint

    transformers = real("transformers", "PreTrainedModel")  # its parts are loaded when they are asked for
    torch.manual_seed(0)
    original = TINY[name](transformers).eval()
    original.save_pretrained(tmp_path / "net", **({"max_shard_size": "1KB"} if shards else {}))
    assert (tmp_path / "net" / "model.safetensors.index.json").is_file() == shards
    spec = parse_model(f"hf:{tmp_path / 'net'}")
    model = build_model(spec, seed=1)
    load_tensors(model, renamed(spec, model, read_checkpoint(tmp_path / "net").tensors))
    inputs = torch.randn(2, 1, 8, 8) if name == "ViT" else torch.randint(11, (2, 5))
    with torch.no_grad():
        assert torch.equal(model.eval()(inputs).logits, original(inputs).logits)
