"""Dagster and nothing else; the code location is `definitions.location`.

Kept empty: the daemon and the webserver import the launcher from this package, and must not build
the whole graph for it.
"""
