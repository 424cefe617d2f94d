"""Requests to external systems: the only outgoing HTTP of connectors, held to policy, budget and retries."""
