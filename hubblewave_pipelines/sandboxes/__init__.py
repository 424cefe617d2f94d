"""Vendor sandboxes: faithful stand-ins of vendors' wire protocols, with live data, limits and faults on demand."""
