-- What an external system told us. Handled once a sync was asked for that sees what it tells of.
create table hubblewave.inbound_events (
  id uuid primary key default hubblewave.uuid7(),
  tenant_id uuid not null,
  connector_id uuid not null,
  content_type text not null,
  body bytea not null,
  digest bytea not null,
  received_at timestamptz not null default now(),
  handled_at timestamptz,
  foreign key (tenant_id, connector_id) references hubblewave.connectors (tenant_id, id) on delete cascade
);
create index inbound_events_waiting on hubblewave.inbound_events (received_at) where handled_at is null;
create unique index inbound_events_once on hubblewave.inbound_events (connector_id, digest)
  where handled_at is null;
create index inbound_events_handled on hubblewave.inbound_events (connector_id, handled_at)
  where handled_at is not null;

alter table hubblewave.inbound_events enable row level security;
create policy tenant on hubblewave.inbound_events to hubblewave_app
  using (tenant_id = (select hubblewave.current_tenant()))
  with check (tenant_id = (select hubblewave.current_tenant()));
grant select, insert, update, delete on hubblewave.inbound_events to hubblewave_app;
create policy worker on hubblewave.inbound_events for select to hubblewave_worker using (true);

-- Whoever calls has no credential of ours, so there is no tenant yet: what the signature is checked
-- with, and the tenant set for the rest of the transaction.
create function hubblewave.inbound_connector(wanted uuid)
  returns table (tenant_id uuid, inbound_sealed text)
  language sql volatile security definer set search_path = pg_catalog, hubblewave
as $$
  select set_config('hubblewave.tenant', c.tenant_id::text, true)::uuid, c.inbound_sealed
  from hubblewave.connectors c
  where c.id = wanted and c.inbound_sealed is not null and c.status <> 'inactive'
$$;
revoke all on function hubblewave.inbound_connector(uuid) from public;
grant execute on function hubblewave.inbound_connector(uuid) to hubblewave_app;
