"""A table of anybody's numbers, CSV or Parquet, and results written as either."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from landscape.errors import OptionError, near
from landscape.files import write_atomically

TABLES = (".csv", ".parquet")


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV or Parquet file, a row a network; a named index is a column like any other.

    Raises:
        OptionError: it is not there, cannot be read as a table, or is Parquet and pyarrow is not installed.
    """
    if not path.is_file():
        raise OptionError(f"there is no table {path}; expected a file that ends in {' or '.join(TABLES)}.")
    if path.suffix.lower() == ".parquet":
        need_parquet()
    try:
        table = pd.read_parquet(path) if path.suffix.lower() == ".parquet" else pd.read_csv(path)
    except (ValueError, OSError) as error:  # pandas' and pyarrow's own errors are kinds of these
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OptionError(f"{path} cannot be read as a table: {first}") from error
    if any(name is not None for name in table.index.names):  # pandas keeps an index of its own in Parquet
        table = table.reset_index()
    if table.empty:
        raise OptionError(f"{path} has no rows; expected a row a network.")
    return table


def column(table: pd.DataFrame, name: str, option: str) -> str:
    """The name, if it is a column.

    Raises:
        OptionError: it is none; near names are offered.
    """
    if name not in table.columns:
        raise OptionError(f"{option}: there is no column {name!r}.{near(name, map(str, table.columns))}")
    return name


def numeric_columns(table: pd.DataFrame, besides: Sequence[str]) -> list[str]:
    """The columns that hold numbers, but for those named."""
    numbers = table.select_dtypes("number").columns
    return [str(name) for name in numbers if name not in besides]


def need_parquet() -> None:
    """Raises:
    OptionError: pyarrow, which reads and writes Parquet, is not installed.
    """
    if find_spec("pyarrow") is None:
        raise OptionError("Parquet needs pyarrow, which is not installed; pip install pyarrow, or use CSV.")


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write the table as Parquet, whole or not at all.

    Raises:
        OptionError: pyarrow is not installed.
        WriteError: the file cannot be written.
    """
    need_parquet()
    content = io.BytesIO()
    table.to_parquet(content, index=False)
    write_atomically(path, content.getvalue())
