"""Which units are rescaled: half of them, all, a number, or units and layers by name."""

from __future__ import annotations

import difflib

import numpy as np

from landscape.errors import OptionError
from landscape.reparameterisation.structure import Kind, Structure
from landscape.state_dict import few


def choose_units(structure: Structure, kind: Kind, how: str, seed: int) -> list[int]:
    """The numbers of the chosen units of `kind`, ascending.

    Args:
        structure: of the network.
        kind: of the units.
        how: `half` (drawn by the seed), `all`, a number (drawn by the seed), or names, comma-separated: LAYER:K for
            channel k of a layer, LAYER or LAYER:* for all of them.
        seed: of the draw.

    Returns:
        The units; of named ones those that are of this kind, which may be none.

    Raises:
        OptionError: a name is no unit of either kind, or there are fewer than that number.
    """
    known = structure.of_kind(kind)
    if how == "all":
        return known
    if how == "half" or (how.isascii() and how.isdecimal()):
        count = (len(known) + 1) // 2 if how == "half" else int(how)
        if count < 1:
            raise OptionError(f"--units: expected half, all, a number from 1 on, or LAYER:K, got {how!r}.")
        if count > len(known):
            raise OptionError(f"--units: {count} units were asked for; the network has {len(known)} of kind {kind}.")
        return sorted(np.random.default_rng([seed, len(kind)]).choice(known, count, replace=False).tolist())
    chosen: set[int] = set()
    for name in how.split(","):
        chosen |= _named(structure, name.strip())
    return [number for number in known if number in chosen]


def _named(structure: Structure, name: str) -> set[int]:
    layer, _, index = name.partition(":")
    of_layer = {
        place[1]: number for number, unit in enumerate(structure.units) for place in unit.places if place[0] == layer
    }
    if not of_layer:
        reason = structure.left_out.get(layer)
        known = dict.fromkeys(place[0] for unit in structure.units for place in unit.places)
        close = difflib.get_close_matches(layer, known, n=3, cutoff=0.5)
        told = f" Its channels meet {reason}." if reason else f" Layers with units: {few(close or known)}."
        raise OptionError(f"--units: expected half, all, a number or LAYER:K, got {name!r}.{told}")
    if index in ("", "*"):
        return set(of_layer.values())
    if not (index.isascii() and index.isdecimal()):
        raise OptionError(f"--units: expected LAYER:K with a channel from 0 on, got {name!r}.")
    if int(index) not in of_layer:
        raise OptionError(f"--units: {name} is no unit; {layer} has units {min(of_layer)} to {max(of_layer)}.")
    return {of_layer[int(index)]}
