"""External systems: one package per vendor, each a `Connector`; none of them knows storage or another vendor."""
