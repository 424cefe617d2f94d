"""The sync engine: streams of external systems into entities and back, window by window, nothing lost or doubled."""
