"""What Dagster's component tree finds: one component, `graph`."""
