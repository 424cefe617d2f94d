-- The control plane: tenants, credentials, definitions, work, imports, and the tables that
-- OAuth, webhooks, connectors, syncs and exports stand on. Tenant data live in schemas of their own.

create schema hubblewave;

-- Roles are shared by the whole server, so another database may have made them already.
do $$
begin
  if not exists (select from pg_roles where rolname = 'hubblewave_app') then
    create role hubblewave_app nologin nobypassrls;
  end if;
  if not exists (select from pg_roles where rolname = 'hubblewave_worker') then
    create role hubblewave_worker nologin nobypassrls in role hubblewave_app;
  end if;
  if not pg_has_role(current_user, 'hubblewave_app', 'usage') then
    execute format('grant hubblewave_app to %I', current_user);
  end if;
  if not pg_has_role(current_user, 'hubblewave_worker', 'usage') then
    execute format('grant hubblewave_worker to %I', current_user);
  end if;
exception when insufficient_privilege then
  raise exception 'the roles hubblewave_app and hubblewave_worker are missing and % may not create them', current_user
    using hint = 'Have an administrator run: create role hubblewave_app nologin; '
      'create role hubblewave_worker nologin in role hubblewave_app; '
      || format('grant hubblewave_app, hubblewave_worker to %I;', current_user);
end $$;

grant usage on schema hubblewave to hubblewave_app;

create function hubblewave.current_tenant() returns uuid language sql stable parallel safe
  return nullif(current_setting('hubblewave.tenant', true), '')::uuid;

-- Time-ordered ids (RFC 9562 version 7): the server's own from PostgreSQL 18 on.
do $$
begin
  if current_setting('server_version_num')::int >= 180000 then
    execute 'create function hubblewave.uuid7() returns uuid language sql volatile parallel safe as ''select uuidv7()''';
  else
    execute $f$
      create function hubblewave.uuid7() returns uuid language sql volatile parallel safe as $b$
        select encode(
          set_bit(set_bit(
            overlay(uuid_send(gen_random_uuid())
              placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
              from 1 for 6),
            52, 1), 53, 1), 'hex')::uuid
      $b$
    $f$;
  end if;
end $$;

create table hubblewave.tenants (
  id uuid primary key default gen_random_uuid(),
  slug text not null unique check (slug ~ '^[a-z][a-z0-9-]{0,38}$'),
  name text not null,
  plan text not null default 'free' check (plan in ('free', 'professional', 'enterprise')),
  schema_name text not null unique check (schema_name ~ '^t_[a-z2-7]{8}$'),
  catalog_version bigint not null default 1,
  created_at timestamptz not null default now()
);

create table hubblewave.users (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references hubblewave.tenants on delete cascade,
  email text not null,
  name text,
  picture text,
  password_hash text,
  active boolean not null default true,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (tenant_id, id)
);
create unique index users_email on hubblewave.users (tenant_id, lower(email));

create table hubblewave.api_keys (
  id text primary key check (id ~ '^[a-z2-7]{8}$'),
  tenant_id uuid not null references hubblewave.tenants on delete cascade,
  actor_id uuid not null unique default gen_random_uuid(),
  name text not null,
  key_hash bytea not null check (length(key_hash) = 32),
  key_prefix text not null,
  scopes text[] not null check (scopes <@ array['read', 'write', 'admin'] and cardinality(scopes) > 0),
  plan text check (plan in ('free', 'professional', 'enterprise')),
  expires_at timestamptz,
  last_used_at timestamptz,
  revoked_at timestamptz,
  created_by uuid,
  created_at timestamptz not null default now()
);
create index api_keys_tenant on hubblewave.api_keys (tenant_id, created_at);

create table hubblewave.entities (
  id text primary key check (id ~ '^[a-z2-7]{8}$'),
  tenant_id uuid not null references hubblewave.tenants on delete cascade,
  slug text not null,
  name text not null,
  definition jsonb not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (tenant_id, slug)
);
create unique index entities_name on hubblewave.entities (tenant_id, lower(name));

create table hubblewave.schema_changes (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references hubblewave.tenants on delete cascade,
  entity_id text not null,
  steps jsonb not null,
  steps_done integer not null default 0,
  state text not null default 'running' check (state in ('running', 'done', 'failed')),
  error text,
  requested_by uuid,
  created_at timestamptz not null default now(),
  finished_at timestamptz
);
create index schema_changes_entity on hubblewave.schema_changes (tenant_id, entity_id, created_at);

create table hubblewave.import_jobs (
  id uuid primary key default hubblewave.uuid7(),
  tenant_id uuid not null references hubblewave.tenants on delete cascade,
  entity_id text not null,
  entity_name text not null,
  file_name text not null,
  file_size bigint not null,
  file_type text not null,
  file_sha256 bytea not null,
  spool_path text not null,
  mapping jsonb not null,
  options jsonb not null,
  status text not null default 'pending'
    check (status in ('pending', 'processing', 'completed', 'failed', 'partial', 'cancelled')),
  cancel_requested boolean not null default false,
  bytes_done bigint not null default 0,
  total_records bigint not null default 0,
  created_records bigint not null default 0,
  updated_records bigint not null default 0,
  unchanged_records bigint not null default 0,
  skipped_records bigint not null default 0,
  failed_records bigint not null default 0,
  error jsonb,
  run_id text,
  created_by uuid,
  created_at timestamptz not null default now(),
  started_at timestamptz,
  completed_at timestamptz,
  unique (tenant_id, id)
);
create index import_jobs_tenant on hubblewave.import_jobs (tenant_id, created_at desc, id desc);

create table hubblewave.import_chunks (
  tenant_id uuid not null,
  import_id uuid not null,
  chunk_no integer not null,
  offset_start bigint not null,
  offset_end bigint not null,
  first_row bigint not null,
  rows integer not null,
  created integer not null,
  updated integer not null,
  unchanged integer not null,
  skipped integer not null,
  failed integer not null,
  run_id text,
  committed_at timestamptz not null default now(),
  primary key (import_id, chunk_no),
  foreign key (tenant_id, import_id) references hubblewave.import_jobs (tenant_id, id) on delete cascade
);

create table hubblewave.import_errors (
  tenant_id uuid not null,
  import_id uuid not null,
  row_no bigint not null,
  field text not null,
  code text not null,
  message text not null,
  raw text,
  primary key (import_id, row_no, field),
  foreign key (tenant_id, import_id) references hubblewave.import_jobs (tenant_id, id) on delete cascade
);

create table hubblewave.export_jobs (
  id uuid primary key default hubblewave.uuid7(),
  tenant_id uuid not null references hubblewave.tenants on delete cascade,
  entity_id text not null,
  entity_name text not null,
  query jsonb not null,
  format text not null,
  options jsonb not null,
  schedule text,
  status text not null default 'pending'
    check (status in ('pending', 'processing', 'completed', 'failed', 'cancelled')),
  total_records bigint,
  file_path text,
  file_sha256 bytea,
  expires_at timestamptz,
  error jsonb,
  created_by uuid,
  created_at timestamptz not null default now(),
  completed_at timestamptz
);
create index export_jobs_tenant on hubblewave.export_jobs (tenant_id, created_at desc, id desc);

-- What was asked for, by whom, for which window. A Dagster run is an attempt at one of these rows.
create table hubblewave.work_requests (
  id uuid primary key default hubblewave.uuid7(),
  tenant_id uuid not null references hubblewave.tenants on delete cascade,
  kind text not null check (kind in ('import', 'export', 'sync')),
  ref_id uuid not null,
  asset_key text[] not null,
  window_start timestamptz,
  window_end timestamptz,
  state text not null default 'requested'
    check (state in ('requested', 'submitted', 'running', 'succeeded', 'failed', 'cancelled')),
  attempt integer not null default 0,
  max_attempts integer not null default 5,
  run_id text,
  not_before timestamptz not null default now(),
  error text,
  requested_by uuid,
  created_at timestamptz not null default now(),
  submitted_at timestamptz,
  started_at timestamptz,
  finished_at timestamptz
);
create index work_requests_open on hubblewave.work_requests (not_before)
  where state in ('requested', 'submitted', 'running');
create index work_requests_ref on hubblewave.work_requests (ref_id);

-- What Dagster's state-backed components were built from, by version; defs_states names the latest.
create table hubblewave.defs_states (
  key text primary key,
  version text not null,
  updated_at timestamptz not null default now()
);
create table hubblewave.defs_state_versions (
  key text not null,
  version text not null,
  state bytea not null,
  created_at timestamptz not null default now(),
  primary key (key, version)
);

create table hubblewave.oauth_clients (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references hubblewave.tenants on delete cascade,
  client_id text not null unique,
  client_secret_hash bytea,
  name text not null,
  description text,
  grants text[] not null default array['authorization_code', 'refresh_token'],
  redirect_uris text[] not null,
  scopes text[] not null default array['read'],
  access_token_lifetime integer not null default 3600,
  refresh_token_lifetime integer not null default 2592000,
  active boolean not null default true,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (tenant_id, id)
);

create table hubblewave.oauth_tokens (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null,
  client_id uuid not null,
  user_id uuid,
  family_id uuid not null,
  kind text not null check (kind in ('access', 'refresh')),
  token_hash bytea not null unique,
  scope text not null,
  expires_at timestamptz not null,
  revoked_at timestamptz,
  created_at timestamptz not null default now(),
  foreign key (tenant_id, client_id) references hubblewave.oauth_clients (tenant_id, id) on delete cascade,
  foreign key (tenant_id, user_id) references hubblewave.users (tenant_id, id) on delete cascade
);
create index oauth_tokens_family on hubblewave.oauth_tokens (family_id);

create table hubblewave.oauth_authorization_codes (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null,
  client_id uuid not null,
  user_id uuid not null,
  code_hash bytea not null unique,
  redirect_uri text not null,
  scope text not null,
  code_challenge text not null,
  nonce text,
  expires_at timestamptz not null,
  used_at timestamptz,
  created_at timestamptz not null default now(),
  foreign key (tenant_id, client_id) references hubblewave.oauth_clients (tenant_id, id) on delete cascade,
  foreign key (tenant_id, user_id) references hubblewave.users (tenant_id, id) on delete cascade
);

create table hubblewave.webhooks (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references hubblewave.tenants on delete cascade,
  name text not null,
  url text not null,
  events text[] not null check (cardinality(events) > 0),
  active boolean not null default true,
  secret_encrypted bytea not null,
  headers_encrypted bytea,
  transform text,
  retry_config jsonb not null default '{}',
  created_by uuid,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (tenant_id, id)
);
create index webhooks_events on hubblewave.webhooks using gin (events);

create table hubblewave.webhook_deliveries (
  id uuid primary key default hubblewave.uuid7(),
  tenant_id uuid not null,
  webhook_id uuid not null,
  event text not null,
  payload jsonb not null,
  status text not null default 'pending' check (status in ('pending', 'success', 'failed')),
  status_code integer,
  response_ms integer,
  error text,
  attempt integer not null default 0,
  due_at timestamptz not null default now(),
  delivered_at timestamptz,
  created_at timestamptz not null default now(),
  foreign key (tenant_id, webhook_id) references hubblewave.webhooks (tenant_id, id) on delete cascade
);
create index webhook_deliveries_webhook on hubblewave.webhook_deliveries (webhook_id, created_at);
create index webhook_deliveries_due on hubblewave.webhook_deliveries (due_at) where status = 'pending';

create table hubblewave.webhook_dlq (
  id uuid primary key default hubblewave.uuid7(),
  tenant_id uuid not null,
  webhook_id uuid not null,
  event text not null,
  payload jsonb not null,
  error text,
  failed_at timestamptz not null default now(),
  resolved_at timestamptz,
  resolved_by uuid,
  foreign key (tenant_id, webhook_id) references hubblewave.webhooks (tenant_id, id) on delete cascade
);
create index webhook_dlq_open on hubblewave.webhook_dlq (webhook_id, failed_at) where resolved_at is null;

create table hubblewave.connectors (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references hubblewave.tenants on delete cascade,
  type text not null check (type in ('salesforce', 'jira', 'servicenow', 'sap', 'custom')),
  name text not null,
  config jsonb not null,
  credentials_encrypted bytea,
  status text not null default 'active' check (status in ('active', 'inactive', 'error')),
  last_sync_at timestamptz,
  last_error text,
  created_by uuid,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (tenant_id, id)
);
create unique index connectors_name on hubblewave.connectors (tenant_id, lower(name));

create table hubblewave.sync_jobs (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null,
  connector_id uuid not null,
  direction text not null check (direction in ('inbound', 'outbound', 'bidirectional')),
  schedule text,
  source_entity text not null,
  target_entity text not null,
  field_mapping jsonb not null,
  conflict_resolution text not null default 'source_wins'
    check (conflict_resolution in ('source_wins', 'target_wins', 'manual')),
  last_run_at timestamptz,
  last_run_status text check (last_run_status in ('success', 'failed', 'partial')),
  last_run_stats jsonb,
  next_run_at timestamptz,
  active boolean not null default true,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (tenant_id, id),
  foreign key (tenant_id, connector_id) references hubblewave.connectors (tenant_id, id) on delete cascade
);
create index sync_jobs_next_run on hubblewave.sync_jobs (next_run_at) where active;

create table hubblewave.sync_job_runs (
  id uuid primary key default hubblewave.uuid7(),
  tenant_id uuid not null,
  sync_job_id uuid not null,
  status text not null check (status in ('running', 'success', 'failed', 'partial')),
  records_processed bigint not null default 0,
  records_success bigint not null default 0,
  records_failed bigint not null default 0,
  errors jsonb,
  started_at timestamptz not null default now(),
  completed_at timestamptz,
  foreign key (tenant_id, sync_job_id) references hubblewave.sync_jobs (tenant_id, id) on delete cascade
);
create index sync_job_runs_job on hubblewave.sync_job_runs (sync_job_id, started_at);

-- Row security: the second line behind the tenant predicate of every statement.
do $$
declare name text;
begin
  foreach name in array array['users', 'api_keys', 'entities', 'schema_changes', 'import_jobs',
    'import_chunks', 'import_errors', 'export_jobs', 'work_requests', 'oauth_clients',
    'oauth_tokens', 'oauth_authorization_codes', 'webhooks', 'webhook_deliveries', 'webhook_dlq',
    'connectors', 'sync_jobs', 'sync_job_runs']
  loop
    execute format('alter table hubblewave.%I enable row level security', name);
    execute format('create policy tenant on hubblewave.%I to hubblewave_app '
      'using (tenant_id = (select hubblewave.current_tenant())) '
      'with check (tenant_id = (select hubblewave.current_tenant()))', name);
    execute format('grant select, insert, update, delete on hubblewave.%I to hubblewave_app', name);
  end loop;
end $$;

alter table hubblewave.tenants enable row level security;
create policy tenant on hubblewave.tenants to hubblewave_app
  using (id = (select hubblewave.current_tenant()));
grant select on hubblewave.tenants to hubblewave_app;

-- The worker sees the queue and the definitions of all tenants, and nothing else of theirs.
create policy worker on hubblewave.work_requests to hubblewave_worker using (true) with check (true);
create policy worker on hubblewave.tenants for select to hubblewave_worker using (true);
create policy worker on hubblewave.entities for select to hubblewave_worker using (true);
alter table hubblewave.defs_states enable row level security;
create policy worker on hubblewave.defs_states to hubblewave_worker using (true) with check (true);
alter table hubblewave.defs_state_versions enable row level security;
create policy worker on hubblewave.defs_state_versions to hubblewave_worker using (true) with check (true);
grant select, insert, update, delete on hubblewave.defs_states, hubblewave.defs_state_versions
  to hubblewave_worker;

-- Before the key is known there is no tenant, so the look-up runs with the owner's rights. It also
-- sets the tenant, so that one round trip opens a request: who, with what, on which catalog.
create function hubblewave.authenticate(key_id text, digest bytea)
  returns table (tenant_id uuid, tenant_slug text, actor_id uuid, scopes text[], plan text,
                 schema_name text, catalog_version bigint)
  language sql volatile security definer set search_path = pg_catalog, hubblewave
as $$
  select set_config('hubblewave.tenant', t.id::text, true)::uuid, t.slug, k.actor_id, k.scopes,
         coalesce(k.plan, t.plan), t.schema_name, t.catalog_version
  from hubblewave.api_keys k
  join hubblewave.tenants t on t.id = k.tenant_id
  where k.id = key_id and k.key_hash = digest and k.revoked_at is null
    and (k.expires_at is null or k.expires_at > now())
$$;
revoke all on function hubblewave.authenticate(text, bytea) from public;
grant execute on function hubblewave.authenticate(text, bytea) to hubblewave_app;
