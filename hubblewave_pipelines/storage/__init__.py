"""PostgreSQL: the only SQL of the platform, built purely here and executed in `database`."""
