-- What a request with an Idempotency-Key was answered, written by the request's own transaction.
create table hubblewave.idempotency_keys (
  tenant_id uuid not null references hubblewave.tenants on delete cascade,
  key text not null check (length(key) between 1 and 255),
  fingerprint bytea not null check (length(fingerprint) = 32),
  status smallint not null,
  headers jsonb not null,
  body text not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, key)
);
create index idempotency_keys_age on hubblewave.idempotency_keys (tenant_id, created_at);

alter table hubblewave.idempotency_keys enable row level security;
create policy tenant on hubblewave.idempotency_keys to hubblewave_app
  using (tenant_id = (select hubblewave.current_tenant()))
  with check (tenant_id = (select hubblewave.current_tenant()));
grant select, insert, update, delete on hubblewave.idempotency_keys to hubblewave_app;
