"""What is known of a problem from earlier analyses, and keeping what an analysis finds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from landscape.errors import WriteError
from landscape.measures import Evaluation
from landscape.problem import Problem
from landscape.records import Record
from landscape.workflows.cache import Cache, cache_folder
from landscape.workflows.contents import UnknowableError
from landscape.workflows.fingerprint import fingerprint, key

_EVALUATION = "evaluation"


class Known:
    """The cached results of one problem.

    Args:
        problem: the problem.
        cache: False: nothing is known and nothing is kept. True: the user's cache folder. A path: that folder.
        tell: hears why nothing can be kept, at most once.
    """

    def __init__(self, problem: Problem, cache: bool | Path, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._cache: Cache | None = None
        self._problem = ""
        if cache is False:
            return
        try:
            folder = cache_folder() if cache is True else Path(cache)
            self._problem = fingerprint(problem)
        except (UnknowableError, WriteError) as error:
            tell(f"nothing is kept for another run: {str(error).rstrip('.')}.")
            return
        except (
            Exception
        ) as error:  # reading a user's objects may fail in any way, which is no reason to measure nothing
            tell(f"nothing is kept for another run: reading the problem failed with {type(error).__name__}: {error}.")
            return
        self._cache = Cache(folder)

    def evaluation(self) -> Evaluation | None:
        """The loss and the accuracy, if they are known."""
        values = self._read(_EVALUATION, {})
        try:
            if values is None:
                return None
            accuracy = values["accuracy"]
            return Evaluation(values["loss"], math.nan if accuracy is None else accuracy, values["classes"])
        except KeyError:
            return None

    def keep_evaluation(self, found: Evaluation) -> None:
        """Keep the loss and the accuracy."""
        accuracy = None if math.isnan(found.accuracy) else found.accuracy
        self._write(_EVALUATION, {}, {"loss": found.loss, "accuracy": accuracy, "classes": found.classes})

    def records(self, options: Mapping[str, Mapping[str, Any]]) -> dict[str, Record]:
        """The records that are known, by name of the measure; `options` has those of each measure that is asked for."""
        found: dict[str, Record] = {}
        for name, chosen in options.items():
            values = self._read(name, chosen)
            if values is not None:
                found[name] = Record.from_dict(values)
        return found

    def keep(self, name: str, options: Mapping[str, Any], record: Record) -> None:
        """Keep a record; a measure that does not apply is found out again for nothing."""
        if record.skipped is None:
            self._write(name, options, record.to_dict())

    def _read(self, what: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
        return None if self._cache is None else self._cache.read(key(self._problem, what, options))

    def _write(self, what: str, options: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        if self._cache is None:
            return
        self._cache.write(key(self._problem, what, options), values)
        if self._cache.fault is not None:
            self._tell(f"the cache cannot be written, {self._cache.fault}; LANDSCAPE_CACHE names another folder.")
            self._cache = None
