"""Linear algebra on operators that are known by their products; knows no network."""
