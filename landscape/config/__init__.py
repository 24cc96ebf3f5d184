"""Validated settings: those that decide a result (hashed) apart from those that only run it."""
