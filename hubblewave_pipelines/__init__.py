"""HubbleWave pipelines: one governed copy of a company's records, kept in step by Dagster runs."""

__version__ = "0.1.0"
