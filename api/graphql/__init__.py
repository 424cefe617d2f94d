"""GraphQL over a tenant's catalog: documents become the same queries, SQL and writes as REST's."""
