-- The tables of 0001 were a first draft that nothing ever wrote.
drop table hubblewave.sync_job_runs;
drop table hubblewave.sync_jobs;

-- One stream of one connector kept in step with one entity. `mark` is the instant (by the clock of
-- the other system) up to which changes are here, `coverage` the windows that have been read;
-- backfills add to the second and never move the first.
create table hubblewave.sync_jobs (
  id uuid primary key default hubblewave.uuid7(),
  tenant_id uuid not null,
  connector_id uuid not null,
  name text not null,
  direction text not null default 'inbound'
    check (direction in ('inbound', 'outbound', 'bidirectional')),
  source_entity text not null,
  entity_id text not null,
  entity_name text not null,
  field_mapping jsonb not null,
  match_field text,
  filter text,
  schedule text,
  timezone text not null default 'UTC',
  next_run_at timestamptz,
  conflict_resolution text not null default 'source_wins'
    check (conflict_resolution in ('source_wins', 'target_wins', 'manual')),
  delete_policy text not null default 'delete' check (delete_policy in ('delete', 'mark', 'ignore')),
  delete_field text,
  brake_rows bigint not null default 10000 check (brake_rows >= 0),
  brake_percent double precision not null default 20 check (brake_percent between 0 and 100),
  window_size text not null default 'hourly' check (window_size in ('hourly', 'daily')),
  start_date timestamptz,
  snapshot_hours integer not null default 24 check (snapshot_hours > 0),
  emit_events text not null default 'auto' check (emit_events in ('auto', 'each', 'summary', 'none')),
  status text not null default 'active' check (status in ('active', 'paused', 'error')),
  error jsonb,
  mark timestamptz,
  mark_source text,
  coverage tstzmultirange not null default '{}',
  stream_fields jsonb,
  generation bigint not null default 0,
  snapshot_at timestamptz,
  last_run_id uuid,
  last_success_at timestamptz,
  created_by uuid,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (tenant_id, id),
  foreign key (tenant_id, connector_id) references hubblewave.connectors (tenant_id, id) on delete cascade,
  check ((schedule is not null and status = 'active') <= (next_run_at is not null))
);
create unique index sync_jobs_name on hubblewave.sync_jobs (tenant_id, lower(name));
create index sync_jobs_connector on hubblewave.sync_jobs (connector_id);
create index sync_jobs_due on hubblewave.sync_jobs (next_run_at)
  where status = 'active' and schedule is not null;

-- One run of a job: of what is new (live), of a window asked for, or of dead letters (replay). `id` stands as
-- the actor of what it writes; counts and requests are committed page by page.
create table hubblewave.sync_runs (
  id uuid primary key default hubblewave.uuid7(),
  tenant_id uuid not null,
  job_id uuid not null,
  kind text not null default 'live' check (kind in ('live', 'window', 'replay')),
  status text not null default 'pending'
    check (status in ('pending', 'running', 'success', 'partial', 'failed', 'cancelled')),
  window_start timestamptz,
  window_end timestamptz,
  allow_deletes boolean not null default false,
  cancel_requested boolean not null default false,
  processed bigint not null default 0,
  created bigint not null default 0,
  updated bigint not null default 0,
  unchanged bigint not null default 0,
  deleted bigint not null default 0,
  failed bigint not null default 0,
  requests bigint not null default 0,
  min_requests bigint not null default 0,
  mark timestamptz,
  mark_source text,
  mark_lag double precision,
  notes jsonb not null default '[]',
  error jsonb,
  run_id text,
  created_by uuid,
  created_at timestamptz not null default now(),
  started_at timestamptz,
  completed_at timestamptz,
  unique (tenant_id, id),
  foreign key (tenant_id, job_id) references hubblewave.sync_jobs (tenant_id, id) on delete cascade,
  check ((kind = 'window') = (window_start is not null and window_end is not null)),
  check (window_start < window_end)
);
create index sync_runs_job on hubblewave.sync_runs (job_id, created_at desc, id desc);
create index sync_runs_open on hubblewave.sync_runs (job_id) where status in ('pending', 'running');

-- What a run read, window by window, and the audit of each: the other system's own count beside how
-- many of its keys are known here. `low` null: since ever.
create table hubblewave.sync_windows (
  tenant_id uuid not null,
  run_id uuid not null,
  no integer not null,
  job_id uuid not null,
  low timestamptz,
  high timestamptz,
  rows bigint not null,
  deleted bigint not null default 0,
  remote_count bigint,
  local_count bigint,
  completed_at timestamptz not null default now(),
  primary key (run_id, no),
  foreign key (tenant_id, run_id) references hubblewave.sync_runs (tenant_id, id) on delete cascade
);
create index sync_windows_job on hubblewave.sync_windows (job_id, completed_at desc);

-- Where the reading of a window stands: committed with the rows of each page. Gone with the window.
create table hubblewave.sync_progress (
  tenant_id uuid not null,
  job_id uuid not null,
  scope text not null check (scope in ('live', 'window', 'keys')),
  low timestamptz not null default '-infinity',
  high timestamptz not null default 'infinity',
  plan_digest text not null,
  slices jsonb not null,
  slice_no integer not null default 0,
  position jsonb,
  rows bigint not null default 0,
  mark timestamptz,
  mark_source text,
  updated_at timestamptz not null default now(),
  primary key (job_id, scope, low, high),
  foreign key (tenant_id, job_id) references hubblewave.sync_jobs (tenant_id, id) on delete cascade
);

-- What is known of each record of the other system: its last state there, and the record it is here.
create table hubblewave.sync_shadow (
  tenant_id uuid not null,
  job_id uuid not null,
  key text not null,
  record_id uuid,
  version timestamptz,
  hash bytea,
  deleted boolean not null default false,
  generation bigint not null default 0,
  run_id uuid,
  primary key (job_id, key),
  foreign key (tenant_id, job_id) references hubblewave.sync_jobs (tenant_id, id) on delete cascade
);
create unique index sync_shadow_record on hubblewave.sync_shadow (job_id, record_id);

-- Keys that the listing of all keys has shown so far; what is known and not among them went.
create table hubblewave.sync_seen (
  tenant_id uuid not null,
  job_id uuid not null,
  generation bigint not null,
  key text not null,
  primary key (job_id, generation, key),
  foreign key (tenant_id, job_id) references hubblewave.sync_jobs (tenant_id, id) on delete cascade
);

-- Records that could not be brought over, with why and how they were sent. Open until they come over.
create table hubblewave.sync_dead_letters (
  id uuid primary key default hubblewave.uuid7(),
  tenant_id uuid not null,
  job_id uuid not null,
  key text not null,
  status text not null default 'open' check (status in ('open', 'resolved')),
  version timestamptz,
  payload jsonb not null,
  code text not null,
  faults jsonb not null,
  attempts integer not null default 1,
  first_run_id uuid not null,
  last_run_id uuid not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  resolved_at timestamptz,
  resolution text,
  unique (tenant_id, id),
  foreign key (tenant_id, job_id) references hubblewave.sync_jobs (tenant_id, id) on delete cascade
);
create unique index sync_dead_letters_open on hubblewave.sync_dead_letters (job_id, key)
  where status = 'open';
create index sync_dead_letters_tenant on hubblewave.sync_dead_letters (tenant_id, id desc);

-- What changed in the form of a stream since its mapping was made, for somebody to look at.
create table hubblewave.sync_drifts (
  id uuid primary key default hubblewave.uuid7(),
  tenant_id uuid not null,
  job_id uuid not null,
  field text not null,
  change text not null check (change in ('added', 'removed', 'changed')),
  before jsonb,
  after jsonb,
  mapped boolean not null,
  status text not null default 'open' check (status in ('open', 'accepted', 'dismissed')),
  run_id uuid,
  created_at timestamptz not null default now(),
  resolved_at timestamptz,
  resolved_by uuid,
  unique (tenant_id, id),
  foreign key (tenant_id, job_id) references hubblewave.sync_jobs (tenant_id, id) on delete cascade
);
create unique index sync_drifts_open on hubblewave.sync_drifts (job_id, field) where status = 'open';

do $$
declare name text;
begin
  foreach name in array array['sync_jobs', 'sync_runs', 'sync_windows', 'sync_progress', 'sync_shadow',
    'sync_seen', 'sync_dead_letters', 'sync_drifts']
  loop
    execute format('alter table hubblewave.%I enable row level security', name);
    execute format('create policy tenant on hubblewave.%I to hubblewave_app '
      'using (tenant_id = (select hubblewave.current_tenant())) '
      'with check (tenant_id = (select hubblewave.current_tenant()))', name);
    execute format('grant select, insert, update, delete on hubblewave.%I to hubblewave_app', name);
  end loop;
end $$;
-- The dispatcher asks across tenants what is due, and the graph shows all jobs.
create policy worker on hubblewave.sync_jobs for select to hubblewave_worker using (true);

-- The summary of a run, whoever ended it.
create function hubblewave.tell_sync() returns trigger language plpgsql
  security definer set search_path = pg_catalog set timezone = 'UTC'
as $$
begin
  insert into hubblewave.events (tenant_id, type, ordering_key, data) values (
    new.tenant_id,
    'sync.' || case new.status when 'success' then 'completed' else new.status end,
    new.job_id::text,
    json_build_object('syncJobId', new.job_id, 'runId', new.id, 'status', new.status,
      'recordsProcessed', new.processed,
      'recordsSuccess', new.created + new.updated + new.unchanged + new.deleted,
      'recordsFailed', new.failed)::text);
  return null;
end $$;
revoke all on function hubblewave.tell_sync() from public;
create trigger tell after update of status on hubblewave.sync_runs for each row
  when (new.status is distinct from old.status and new.status in ('success', 'partial', 'failed'))
  execute function hubblewave.tell_sync();
