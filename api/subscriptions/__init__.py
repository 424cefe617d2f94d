"""GraphQL over WebSocket: the protocol, the events it is fed with, and what bounds both."""
