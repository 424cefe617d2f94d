"""Everything on one machine: the embedded PostgreSQL, supervised child processes, `hubblewave up`."""
