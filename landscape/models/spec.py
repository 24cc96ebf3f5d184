"""The text form of a network and what it stands for.

NAME, NAME:key=value,...                   one of ours
SOURCE:NAME, SOURCE:NAME:key=value,...     one of another package (`landscape.models.source`)
module:factory                             a user's own
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from torch import nn

from landscape.errors import OptionError, near
from landscape.models.source import ModelSource

OptionValue = bool | int | float | str


@dataclass(frozen=True)
class Option:
    """One option of a family.

    Attributes:
        kind: `bool`, `int`, `float` or `str`.
        default: its value where the spec does not give it; None is filled from the data.
        about: one line of help.
        choices: the allowed words, for `str`.
        share: whether the number is a share, in [0, 1). Other numbers must be above 0.
    """

    kind: type[bool] | type[int] | type[float] | type[str]
    default: OptionValue | None
    about: str
    choices: tuple[str, ...] = ()
    share: bool = False

    def parse(self, text: str, where: str) -> OptionValue:
        """Read a value of this option; `where` names it in errors.

        Raises:
            OptionError: the text is not of this kind, not among the choices or out of range.
        """
        if self.kind is bool:
            if text not in ("true", "false"):
                raise OptionError(f"{where}: expected true or false, got {text!r}.")
            return text == "true"
        if self.kind is str:
            if text not in self.choices:
                raise OptionError(f"{where}: expected one of {', '.join(self.choices)}, got {text!r}.")
            return text
        what = "a whole number above 0" if self.kind is int else "a number above 0"
        if self.share:
            what = "a share of at least 0 and below 1"
        try:
            value = int(text) if self.kind is int else float(text)
        except ValueError:
            raise OptionError(f"{where}: expected {what}, got {text!r}.") from None
        if not math.isfinite(value) or not (0 <= value < 1 if self.share else value > 0):
            raise OptionError(f"{where}: expected {what}, got {text!r}.")
        return value


@dataclass(frozen=True)
class ModelFamily:
    """A registered network.

    Attributes:
        name: in specs.
        build: makes the network from one keyword argument for each option, drawing weights from the global RNG.
        options: by name, with kind and default.
        minimum_size: the smallest side of an input image that it takes, in pixels.
        reference: the paper, its section, and what differs from it.
    """

    name: str
    build: Callable[..., nn.Module]
    options: Mapping[str, Option]
    minimum_size: int
    reference: str


@dataclass(frozen=True)
class ModelSpec:
    """A network by name with the options that were given; or, where `name` is `module:factory`, a user's own.

    Where `source` is given it is a network of another package, and the options are for that package's own builder.
    `str(spec)` is the canonical text, options sorted; parsing it gives an equal spec.
    """

    name: str
    options: Mapping[str, OptionValue] = field(default_factory=dict, hash=False)
    source: str = ""

    def __str__(self) -> str:
        given = ",".join(f"{key}={_text(self.options[key])}" for key in sorted(self.options))
        whole = f"{self.source}:{self.name}" if self.source else self.name
        return f"{whole}:{given}" if given else whole

    @property
    def is_factory(self) -> bool:
        """Whether it names a user's `module:factory` and not a registered family or another package's network."""
        return not self.source and ":" in self.name


_FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def parse_spec(
    text: str, families: Mapping[str, ModelFamily], sources: Mapping[str, ModelSource] = MappingProxyType({})
) -> ModelSpec:
    """Parse a spec against the registered `families` and `sources`.

    What follows the colon is a list of `key=value` if what precedes it is a registered name, and a name if that is a
    source; otherwise it is the factory of a user's module. Nothing is imported here.

    Raises:
        OptionError: the name, an option or a value is unknown; near names are offered.
    """
    name, colon, rest = text.strip().partition(":")
    if name in sources:
        return _of_source(sources[name], rest.strip())
    if name not in families:
        if _FACTORY.fullmatch(text.strip()):
            return ModelSpec(text.strip())
        others = ", ".join(f"{source}:NAME" for source in sources)
        raise OptionError(
            f"unknown model {name!r}.{near(name, families)} A model of your own: module:factory; of a package: "
            f"{others}."
        )
    if colon and not rest:
        raise OptionError(f"{text!r}: expected options after the colon, as in {name}:classes=10, got none.")
    known = families[name].options
    options: dict[str, OptionValue] = {}
    for part in rest.split(",") if rest else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise OptionError(f"{name}: expected key=value, got {part!r}. Options: {', '.join(known)}.")
        if key not in known:
            raise OptionError(f"{name} has no option {key!r}.{near(key, known)}")
        if key in options:
            raise OptionError(f"{name}: the option {key!r} is given twice; give it once.")
        options[key] = known[key].parse(value, f"{name}:{key}")
    return ModelSpec(name, options)


def _of_source(source: ModelSource, rest: str) -> ModelSpec:
    name, colon, given = rest.partition(":") if source.has_options else (rest, "", "")
    if not name or (colon and not given):
        raise OptionError(f"{source.name}:{rest}: expected {source.name}:NAME or {source.name}:NAME:key=value,....")
    options: dict[str, OptionValue] = {}
    for part in given.split(",") if given else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not (equals and key.isidentifier() and value):
            raise OptionError(f"{source.name}:{name}: expected key=value, got {part!r}.")
        if key in options:
            raise OptionError(f"{source.name}:{name}: the option {key!r} is given twice; give it once.")
        options[key] = SIZE.parse(value, f"{source.name}:{name}:size") if key == "size" else _literal(value)
    return ModelSpec(name, options, source.name)


def _literal(text: str) -> OptionValue:
    """A value for another package's builder: true, false, a number or a word."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _text(value: OptionValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


CLASSES = Option(int, None, "number of classes, that is, of outputs; from the data if not given")
CHANNELS = Option(int, None, "channels of the input images; from the data if not given")
SIZE = Option(int, None, "side of the images that the network is to take, in pixels")
WIDTH = Option(float, 1.0, "factor on the channels of every layer; 1 is the paper's network")
DROPOUT = Option(float, 0.0, "share of the activations that training sets to 0", share=True)
