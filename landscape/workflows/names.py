"""Short names for files and folders that tell them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """The last parts of the paths, as many as make them different."""
    resolved = [path.resolve() for path in paths]
    for count in range(1, max((len(path.parts) for path in resolved), default=1) + 1):
        names = ["/".join(path.parts[-count:]) for path in resolved]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def numbered(names: Sequence[str]) -> list[str]:
    """The names, with a number after each that stands there more than once."""
    several = {name for name, count in Counter(names).items() if count > 1}
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        seen[name] += 1
        result.append(f"{name} ({seen[name]})" if name in several else name)
    return result


def short_names(paths: Sequence[str]) -> list[str]:
    """The file names of `paths`, with as many of their folders as it takes to tell them apart.

    The same path given twice cannot be told apart so; these are numbered.
    """
    parts = [PurePath(path).parts or (path,) for path in paths]
    names = []
    for i, own in enumerate(parts):
        others = [other for j, other in enumerate(parts) if j != i and other != own]
        depth = 1
        while depth < len(own) and any(other[-depth:] == own[-depth:] for other in others):
            depth += 1
        names.append("/".join(own[-depth:]).replace("//", "/"))
    return numbered(names)
