"""Which measure goes with which outcome, over many networks. Knows no torch and no network: numbers in, numbers out."""
