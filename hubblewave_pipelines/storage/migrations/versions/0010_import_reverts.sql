-- The undoing of an import. `id` stands as the actor of what it writes.
create table hubblewave.import_reverts (
  id uuid primary key default hubblewave.uuid7(),
  tenant_id uuid not null references hubblewave.tenants on delete cascade,
  import_id uuid not null unique,
  status text not null default 'pending'
    check (status in ('pending', 'processing', 'completed', 'partial', 'failed')),
  removed_records bigint not null default 0,
  restored_records bigint not null default 0,
  kept_records bigint not null default 0,
  error jsonb,
  run_id text,
  created_by uuid,
  created_at timestamptz not null default now(),
  started_at timestamptz,
  completed_at timestamptz,
  unique (tenant_id, id),
  foreign key (tenant_id, import_id) references hubblewave.import_jobs (tenant_id, id) on delete cascade
);

-- Records that the import wrote and the revert left alone, and why.
create table hubblewave.import_kept (
  tenant_id uuid not null,
  import_id uuid not null,
  record_id uuid not null,
  reason text not null check (reason in ('edited', 'deleted', 'referenced', 'unique', 'rule')),
  primary key (import_id, record_id),
  foreign key (tenant_id, import_id) references hubblewave.import_jobs (tenant_id, id) on delete cascade
);

do $$
declare
  name text;
begin
  foreach name in array array['import_reverts', 'import_kept'] loop
    execute format('alter table hubblewave.%I enable row level security', name);
    execute format('create policy tenant on hubblewave.%I to hubblewave_app '
      'using (tenant_id = (select hubblewave.current_tenant())) '
      'with check (tenant_id = (select hubblewave.current_tenant()))', name);
    execute format('grant select, insert, update, delete on hubblewave.%I to hubblewave_app', name);
  end loop;
end $$;

alter table hubblewave.work_requests drop constraint work_requests_kind_check,
  add constraint work_requests_kind_check check (kind in ('import', 'export', 'revert', 'sync'));
