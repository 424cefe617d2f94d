-- GraphQL documents that a tenant's clients name by the SHA-256 of their text.
create table hubblewave.persisted_documents (
  tenant_id uuid not null references hubblewave.tenants on delete cascade,
  digest bytea not null check (digest = sha256(convert_to(document, 'UTF8'))),
  document text not null check (length(document) between 1 and 200000),
  created_by uuid,
  created_at timestamptz not null default now(),
  primary key (tenant_id, digest)
);

alter table hubblewave.persisted_documents enable row level security;
create policy tenant on hubblewave.persisted_documents to hubblewave_app
  using (tenant_id = (select hubblewave.current_tenant()))
  with check (tenant_id = (select hubblewave.current_tenant()));
grant select, insert, delete on hubblewave.persisted_documents to hubblewave_app;
