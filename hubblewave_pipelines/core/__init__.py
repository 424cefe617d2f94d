"""The model and its laws: pure, no clock, no network, no SQL, no framework."""
