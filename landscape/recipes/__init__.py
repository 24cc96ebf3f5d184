"""Recipes that come with the package, as YAML: settings of `landscape train`."""
