"""Webhook deliveries: sending events to the addresses that tenants registered."""
