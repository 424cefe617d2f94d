-- An export is one file. One with a schedule is never run itself (status 'scheduled'): the dispatcher
-- makes an export of it, which names it in schedule_id, whenever next_run_at has come.
alter table hubblewave.export_jobs
  drop constraint export_jobs_status_check,
  add constraint export_jobs_status_check check
    (status in ('pending', 'processing', 'completed', 'failed', 'cancelled', 'scheduled')),
  add column timezone text,
  add column next_run_at timestamptz,
  add column last_export_id uuid,
  add column schedule_id uuid,
  add column destination text,
  add column delivered_to text,
  add column file_name text,
  add column file_size bigint,
  add column manifest jsonb,
  add column cancel_requested boolean not null default false,
  add column records_done bigint not null default 0,
  add column records_expected bigint,
  add column run_id text,
  add column started_at timestamptz,
  add column removed_at timestamptz,
  add unique (tenant_id, id),
  add foreign key (tenant_id, schedule_id) references hubblewave.export_jobs (tenant_id, id)
    on delete set null (schedule_id),
  add check ((status = 'scheduled') <= (schedule is not null and timezone is not null
    and next_run_at is not null));
create index export_jobs_due on hubblewave.export_jobs (next_run_at) where status = 'scheduled';
create index export_jobs_schedule on hubblewave.export_jobs (schedule_id, created_at desc)
  where schedule_id is not null;
-- The dispatcher asks across tenants what is due, and the graph shows the scheduled ones.
create policy worker on hubblewave.export_jobs for select to hubblewave_worker
  using (status = 'scheduled');

-- A directory or bucket prefix whose files are imported as they arrive.
create table hubblewave.import_watches (
  id uuid primary key default hubblewave.uuid7(),
  tenant_id uuid not null references hubblewave.tenants on delete cascade,
  entity_id text not null,
  entity_name text not null,
  url text not null,
  pattern text not null default '*',
  mapping jsonb,
  options jsonb not null,
  active boolean not null default true,
  last_scan_at timestamptz,
  last_error text,
  created_by uuid,
  created_at timestamptz not null default now(),
  unique (tenant_id, id)
);
create index import_watches_tenant on hubblewave.import_watches (tenant_id, created_at desc, id desc);

-- What a watch has seen: one row per version of a file. A version is imported at most once, which
-- the key says, and only after it has been seen twice, unchanged.
create table hubblewave.import_watch_files (
  tenant_id uuid not null,
  watch_id uuid not null,
  path text not null,
  version text not null,
  size bigint not null,
  seen_at timestamptz not null default now(),
  import_id uuid,
  error text,
  primary key (watch_id, path, version),
  foreign key (tenant_id, watch_id) references hubblewave.import_watches (tenant_id, id) on delete cascade
);

do $$
declare name text;
begin
  foreach name in array array['import_watches', 'import_watch_files']
  loop
    execute format('alter table hubblewave.%I enable row level security', name);
    execute format('create policy tenant on hubblewave.%I to hubblewave_app '
      'using (tenant_id = (select hubblewave.current_tenant())) '
      'with check (tenant_id = (select hubblewave.current_tenant()))', name);
    execute format('grant select, insert, update, delete on hubblewave.%I to hubblewave_app', name);
  end loop;
end $$;
create policy worker on hubblewave.import_watches for select to hubblewave_worker using (active);

-- The summary of an export, whoever ended it.
create function hubblewave.tell_export() returns trigger language plpgsql
  security definer set search_path = pg_catalog set timezone = 'UTC'
as $$
begin
  insert into hubblewave.events (tenant_id, type, ordering_key, data) values (
    new.tenant_id, 'export.' || new.status, new.id::text,
    json_build_object('id', new.id, 'entity', new.entity_name, 'format', new.format,
      'status', new.status, 'totalRecords', new.total_records, 'error', new.error)::text);
  return null;
end $$;
revoke all on function hubblewave.tell_export() from public;
create trigger tell after update of status on hubblewave.export_jobs for each row
  when (new.status is distinct from old.status and new.status in ('completed', 'failed'))
  execute function hubblewave.tell_export();
