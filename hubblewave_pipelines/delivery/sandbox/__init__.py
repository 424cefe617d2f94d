"""The process that runs tenants' JavaScript: it can compute, and read and write one socket, and nothing else."""
