-- The connectors of 0001 were a first draft that nothing ever wrote.
alter table hubblewave.connectors
  drop constraint connectors_type_check,
  drop column credentials_encrypted,
  drop column last_error,
  alter column id set default hubblewave.uuid7(),
  add column pace jsonb not null default '{}',
  add column last_error jsonb, -- {code, detail, at}
  add column last_check jsonb,
  add column last_check_at timestamptz,
  add column inbound_sealed text; -- what the system signs its webhooks to us with
create index connectors_tenant on hubblewave.connectors (tenant_id, created_at, id);

-- What the types of this version are, for processes that do not load connectors; the same for every tenant.
create table hubblewave.connector_types (
  name text primary key,
  title text not null,
  config jsonb not null,
  credentials jsonb not null,
  capabilities jsonb not null,
  updated_at timestamptz not null default now()
);
alter table hubblewave.connector_types enable row level security;
create policy everybody on hubblewave.connector_types for select to hubblewave_app using (true);
grant select on hubblewave.connector_types to hubblewave_app;

-- One row per connector, replaced as a whole under its lock; `generation` grows with each replacement.
create table hubblewave.connector_credentials (
  tenant_id uuid not null,
  connector_id uuid primary key,
  generation bigint not null default 1,
  kind text not null,
  given text[] not null, -- names only
  sealed text not null,
  rejected boolean not null default false, -- the system refused this generation for good
  expires_at timestamptz,
  given_at timestamptz not null default now(),   -- by an admin
  renewed_at timestamptz,                        -- by the platform
  foreign key (tenant_id, connector_id) references hubblewave.connectors (tenant_id, id) on delete cascade
) with (fillfactor = 50);

-- The pace of requests that all processes keep together; written once per request.
create table hubblewave.connector_buckets (
  tenant_id uuid not null,
  connector_id uuid primary key,
  rate double precision not null check (rate > 0),
  empty_at timestamptz not null,
  changed_at timestamptz not null,
  slowed_at timestamptz,
  paused_until timestamptz,
  foreign key (tenant_id, connector_id) references hubblewave.connectors (tenant_id, id) on delete cascade
) with (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- A check or a discovery that somebody asked for, done by a run. `stream` null: all streams.
create table hubblewave.connector_asks (
  id uuid primary key default hubblewave.uuid7(),
  tenant_id uuid not null,
  connector_id uuid not null,
  kind text not null check (kind in ('check', 'discover')),
  stream text,
  status text not null default 'pending'
    check (status in ('pending', 'processing', 'completed', 'failed', 'cancelled')),
  result jsonb,
  error jsonb,
  run_id text,
  created_by uuid,
  created_at timestamptz not null default now(),
  started_at timestamptz,
  completed_at timestamptz,
  unique (tenant_id, id),
  foreign key (tenant_id, connector_id) references hubblewave.connectors (tenant_id, id) on delete cascade
);
create index connector_asks_latest on hubblewave.connector_asks (connector_id, kind, stream, created_at desc);

do $$
declare name text;
begin
  foreach name in array array['connector_credentials', 'connector_buckets', 'connector_asks'] loop
    execute format('alter table hubblewave.%I enable row level security', name);
    execute format('create policy tenant on hubblewave.%I to hubblewave_app '
      'using (tenant_id = (select hubblewave.current_tenant())) '
      'with check (tenant_id = (select hubblewave.current_tenant()))', name);
    execute format('grant select, insert, update, delete on hubblewave.%I to hubblewave_app', name);
  end loop;
end $$;
-- The graph groups syncs by connector.
create policy worker on hubblewave.connectors for select to hubblewave_worker using (true);

-- Whoever finds that a connector does not work writes it to its row; its admins hear of it once.
create function hubblewave.tell_connector() returns trigger language plpgsql
  security definer set search_path = pg_catalog set timezone = 'UTC'
as $$
begin
  insert into hubblewave.events (tenant_id, type, ordering_key, data) values (
    new.tenant_id, 'connector.error', new.id::text,
    json_build_object('connectorId', new.id, 'name', new.name, 'error', new.last_error ->> 'code')::text);
  return null;
end $$;
revoke all on function hubblewave.tell_connector() from public;
create trigger tell after update of status on hubblewave.connectors for each row
  when (new.status = 'error' and old.status <> 'error')
  execute function hubblewave.tell_connector();

alter table hubblewave.work_requests drop constraint work_requests_kind_check,
  add constraint work_requests_kind_check
    check (kind in ('import', 'export', 'revert', 'sync', 'check', 'discover'));
