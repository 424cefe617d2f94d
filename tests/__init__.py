"""Tests, proofs and benches: a package by itself, because pyodata installs one of the same name."""
