-- Webhooks. An event is a row of the transaction that made it true; fan-out turns it into one
-- delivery per webhook; a delivery is claimed, attempted and logged. `events`, the log and the
-- attempts are kept by day, so that old ones cost a DROP and not a DELETE.

drop table hubblewave.webhook_dlq, hubblewave.webhook_deliveries, hubblewave.webhooks;

create sequence hubblewave.events_n;

create table hubblewave.events (
  id uuid not null default hubblewave.uuid7(),
  n bigint not null default nextval('hubblewave.events_n'), -- per record: the order of its changes
  tenant_id uuid not null, -- no foreign key: it would be checked for every row of a bulk import
  type text not null,
  schema_version smallint not null default 1,
  occurred_at timestamptz not null default now(),
  ordering_key text not null,
  entity_id text,  -- set: `record` holds the row by physical column, `data` follows at fan-out
  record jsonb,
  data text,       -- JSON text, sent as it is
  fanned_to uuid,  -- the last webhook that has its delivery, while the fan-out goes on
  fanned_at timestamptz,
  primary key (id, occurred_at),
  check (record is not null or data is not null)
) partition by range (occurred_at);
create index events_unfanned on hubblewave.events (tenant_id, n) where fanned_at is null;
create index events_since on hubblewave.events (tenant_id, occurred_at, n);

create table hubblewave.webhooks (
  id uuid primary key default hubblewave.uuid7(),
  tenant_id uuid not null references hubblewave.tenants on delete cascade,
  name text not null,
  url text not null,
  events text[] not null check (cardinality(events) > 0), -- lower case; `*` for either half
  active boolean not null default true,
  verified_at timestamptz,
  disabled_at timestamptz, -- by the platform: `gone` (410) or `failing` (no success for days)
  disabled_reason text check (disabled_reason in ('gone', 'failing')),
  headers_sealed text,
  header_names text[] not null default '{}',
  transform text,
  transform_version integer not null default 0,
  filter jsonb,
  retry_config jsonb not null default '{}',
  ordering text not null default 'none' check (ordering in ('none', 'per_key')),
  ordering_escape_hours integer not null default 24 check (ordering_escape_hours > 0),
  created_by uuid,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (tenant_id, id)
);
create index webhooks_tenant on hubblewave.webhooks (tenant_id, created_at, id);
create index webhooks_events on hubblewave.webhooks using gin (events);

-- Two secrets while one replaces the other; `position` 0 is the one in force.
create table hubblewave.webhook_secrets (
  tenant_id uuid not null,
  webhook_id uuid not null,
  position smallint not null check (position in (0, 1)),
  sealed text not null,
  prefix text not null,
  fingerprint text not null,
  created_at timestamptz not null default now(),
  retires_at timestamptz, -- of a secret in force: when the next one takes its place by itself
  primary key (webhook_id, position),
  foreign key (tenant_id, webhook_id) references hubblewave.webhooks (tenant_id, id) on delete cascade
);

-- What each batch of results changes, apart from what people configure.
create table hubblewave.webhook_health (
  webhook_id uuid primary key,
  tenant_id uuid not null,
  recent text not null default '', -- the last 20 attempts, 1 for a success
  succeeded bigint not null default 0,
  failed bigint not null default 0,
  last_success_at timestamptz,
  first_failure_at timestamptz, -- of the failures since the last success
  open_until timestamptz,       -- set: the circuit is open; once past, half open
  opens integer not null default 0,
  paused_until timestamptz,     -- the receiver asked for a pause (429, 503)
  foreign key (tenant_id, webhook_id) references hubblewave.webhooks (tenant_id, id) on delete cascade
) with (fillfactor = 50);

-- Deliveries that are not over. Nothing that has ended stays here.
create table hubblewave.webhook_deliveries (
  id uuid primary key default hubblewave.uuid7(),
  tenant_id uuid not null,
  webhook_id uuid not null,
  event_id uuid not null,
  event_n bigint not null,
  occurred_at timestamptz not null,
  type text not null,
  kind text not null default 'event' check (kind in ('event', 'replay', 'test')),
  state text not null default 'due' check (state in ('due', 'sending', 'held')),
  ordering_key text, -- set: waits for earlier deliveries of the same webhook and key
  attempt integer not null default 0,
  attempts_left integer not null,
  next_at timestamptz not null default now(),
  lease_token uuid,
  leased_until timestamptz,
  started_at timestamptz,
  created_at timestamptz not null default now(),
  foreign key (tenant_id, webhook_id) references hubblewave.webhooks (tenant_id, id) on delete cascade
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
create index webhook_deliveries_due on hubblewave.webhook_deliveries (webhook_id, next_at, event_n)
  where state = 'due';
create index webhook_deliveries_sending on hubblewave.webhook_deliveries (webhook_id, leased_until)
  where state = 'sending';
create index webhook_deliveries_webhook on hubblewave.webhook_deliveries (webhook_id, id);
create index webhook_deliveries_key on hubblewave.webhook_deliveries (webhook_id, ordering_key, event_n)
  where ordering_key is not null;
create index webhook_deliveries_event on hubblewave.webhook_deliveries (event_id, webhook_id);
create index webhook_deliveries_age on hubblewave.webhook_deliveries (occurred_at);

create table hubblewave.webhook_delivery_log (
  id uuid not null,
  tenant_id uuid not null,
  webhook_id uuid not null,
  event_id uuid not null,
  occurred_at timestamptz not null,
  type text not null,
  kind text not null,
  status text not null check (status in ('success', 'failed', 'cancelled')),
  reason text,
  attempts integer not null,
  created_at timestamptz not null,
  finished_at timestamptz not null default now(),
  primary key (id, finished_at)
) partition by range (finished_at);
create index webhook_delivery_log_webhook on hubblewave.webhook_delivery_log (webhook_id, id);
create index webhook_delivery_log_event on hubblewave.webhook_delivery_log (event_id, webhook_id)
  where status = 'success';

-- Written at the claim, before a socket opens, so that an attempt whose worker died is known too.
create table hubblewave.webhook_attempts (
  tenant_id uuid not null,
  webhook_id uuid not null,
  delivery_id uuid not null,
  n integer not null,
  started_at timestamptz not null,
  ended_at timestamptz,
  worker text not null,
  status integer,
  error_class text,
  detail text,
  duration_ms double precision,
  request_headers jsonb,
  body_sha256 bytea,
  sent_sha256 bytea,
  response_headers jsonb,
  response_body text,
  primary key (delivery_id, n, started_at)
) partition by range (started_at);

create index webhook_attempts_age on hubblewave.webhook_attempts using brin (started_at);

create table hubblewave.webhook_dead_letters (
  id uuid primary key default hubblewave.uuid7(),
  tenant_id uuid not null,
  webhook_id uuid not null,
  delivery_id uuid not null,
  event_id uuid not null,
  occurred_at timestamptz not null,
  type text not null,
  ordering_key text not null,
  data text not null,
  reason text not null,
  status integer,
  error_class text,
  attempts integer not null,
  failed_at timestamptz not null default now(),
  resolved_at timestamptz,
  resolved_by uuid,
  resolution text check (resolution in ('resolved', 'redriven')),
  foreign key (tenant_id, webhook_id) references hubblewave.webhooks (tenant_id, id) on delete cascade
);
create index webhook_dead_letters_tenant on hubblewave.webhook_dead_letters (tenant_id, id);
create index webhook_dead_letters_open on hubblewave.webhook_dead_letters (tenant_id, webhook_id, id)
  where resolved_at is null;

-- Sending again what happened in a span of time: a cursor over `events`, moved by the workers.
create table hubblewave.webhook_replays (
  id uuid primary key default hubblewave.uuid7(),
  tenant_id uuid not null,
  webhook_id uuid not null,
  since timestamptz not null,
  until timestamptz not null,
  types text[],
  only_missing boolean not null,
  state text not null default 'running' check (state in ('running', 'done', 'cancelled')),
  cursor_at timestamptz not null,
  cursor_n bigint not null default 0,
  seen bigint not null default 0,
  queued bigint not null default 0,
  requested_by uuid,
  created_at timestamptz not null default now(),
  finished_at timestamptz,
  foreign key (tenant_id, webhook_id) references hubblewave.webhooks (tenant_id, id) on delete cascade
);
create index webhook_replays_running on hubblewave.webhook_replays (id) where state = 'running';
create index webhook_replays_webhook on hubblewave.webhook_replays (tenant_id, webhook_id, id);

do $$
declare name text;
begin
  foreach name in array array['events', 'webhooks', 'webhook_secrets', 'webhook_health',
    'webhook_deliveries', 'webhook_delivery_log', 'webhook_attempts', 'webhook_dead_letters',
    'webhook_replays']
  loop
    execute format('alter table hubblewave.%I enable row level security', name);
    execute format('create policy tenant on hubblewave.%I to hubblewave_app '
      'using (tenant_id = (select hubblewave.current_tenant())) '
      'with check (tenant_id = (select hubblewave.current_tenant()))', name);
    execute format('create policy worker on hubblewave.%I to hubblewave_worker '
      'using (true) with check (true)', name);
    execute format('grant select, insert, update, delete on hubblewave.%I to hubblewave_app', name);
  end loop;
end $$;
grant usage on sequence hubblewave.events_n to hubblewave_app;

-- Partitions by day: made two weeks ahead, dropped when they are older than `keep`. The default
-- partition takes what no other does, so that a platform whose workers were off for long still
-- writes its events. Returns how many partitions were dropped. Never waits for a lock.
create function hubblewave.keep_days(parent text, keep interval) returns integer
  language plpgsql security definer set search_path = pg_catalog set timezone = 'UTC'
  set lock_timeout = '200ms'
as $$
declare
  day date; part text; dropped integer := 0;
begin
  if parent not in ('events', 'webhook_delivery_log', 'webhook_attempts') then
    raise exception 'hubblewave.% is not kept by day', parent;
  end if;
  -- What a day's partition holds may not be removed while deliveries still need it.
  for part, day in
    select c.relname, to_date(right(c.relname, 8), 'YYYYMMDD')
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = format('hubblewave.%I', parent)::regclass
      and c.relname ~ '_[0-9]{8}$' and to_date(right(c.relname, 8), 'YYYYMMDD') + 1 < now() - keep
  loop
    if parent = 'events' and exists (select from hubblewave.webhook_deliveries
        where occurred_at >= day and occurred_at < day + 1) then
      continue;
    end if;
    begin
      execute format('drop table hubblewave.%I', part);
      dropped := dropped + 1;
    exception when lock_not_available then null;  -- the next turn comes within the hour
    end;
  end loop;
  for day in select generate_series(now()::date - 1, now()::date + 14, '1 day')::date loop
    part := parent || '_' || to_char(day, 'YYYYMMDD');
    continue when to_regclass(format('hubblewave.%I', part)) is not null;
    begin
      execute format('create table hubblewave.%I (like hubblewave.%I including defaults '
        'including constraints)', part, parent);
      execute format('alter table hubblewave.%I enable row level security', part);
      execute format('create policy tenant on hubblewave.%I to hubblewave_app '
        'using (tenant_id = (select hubblewave.current_tenant()))', part);
      execute format('alter table hubblewave.%I attach partition hubblewave.%I '
        'for values from (%L) to (%L)', parent, part, day, day + 1);
    exception
      when lock_not_available then null;
      when check_violation then null;  -- the default partition has rows of that day already
    end;
  end loop;
  return dropped;
end $$;
revoke all on function hubblewave.keep_days(text, interval) from public;
grant execute on function hubblewave.keep_days(text, interval) to hubblewave_worker;

do $$
declare name text;
begin
  foreach name in array array['events', 'webhook_delivery_log', 'webhook_attempts'] loop
    execute format('create table hubblewave.%I partition of hubblewave.%I default',
      name || '_rest', name);
    execute format('alter table hubblewave.%I enable row level security', name || '_rest');
    execute format('create policy tenant on hubblewave.%I to hubblewave_app '
      'using (tenant_id = (select hubblewave.current_tenant()))', name || '_rest');
    perform hubblewave.keep_days(name, '30 days');
  end loop;
end $$;

-- Fills `events` from the rows of a statement. An entity's table has the triggers only while some
-- webhook wants its records (storage.capture), so that everybody else pays nothing.
-- `hubblewave.events` = 'off' in a transaction keeps it quiet (an import's emitEvents).
create function hubblewave.capture_events() returns trigger language plpgsql
  security definer set search_path = pg_catalog set timezone = 'UTC'
as $$
declare
  entity text := substr(tg_table_name, 3);
  verb text := case tg_op when 'INSERT' then 'created' when 'UPDATE' then 'updated' else 'deleted' end;
  tenant uuid; name text;
begin
  if current_setting('hubblewave.events', true) = 'off' then
    return null;
  end if;
  select e.tenant_id, lower(e.name) into tenant, name from hubblewave.entities e where e.id = entity;
  insert into hubblewave.events (tenant_id, type, ordering_key, entity_id, record)
  select tenant, name || '.' || verb, w.id::text, entity, to_jsonb(w) from written w;
  return null;
end $$;
revoke all on function hubblewave.capture_events() from public;

-- The summary of an import, whoever ended it: a run, a cancelling client, the reconciler.
create function hubblewave.tell_import() returns trigger language plpgsql
  security definer set search_path = pg_catalog set timezone = 'UTC'
as $$
begin
  insert into hubblewave.events (tenant_id, type, ordering_key, data) values (
    new.tenant_id,
    case new.status when 'failed' then 'import.failed' else 'import.completed' end,
    new.id::text,
    json_build_object('id', new.id, 'entity', new.entity_name, 'fileName', new.file_name,
      'status', new.status, 'totalRecords', new.total_records,
      'successRecords', new.total_records - new.failed_records,
      'createdRecords', new.created_records, 'updatedRecords', new.updated_records,
      'unchangedRecords', new.unchanged_records, 'skippedRecords', new.skipped_records,
      'failedRecords', new.failed_records, 'error', new.error)::text);
  return null;
end $$;
revoke all on function hubblewave.tell_import() from public;
create trigger tell after update of status on hubblewave.import_jobs for each row
  when (new.status is distinct from old.status and new.status in ('completed', 'partial', 'failed')
    and coalesce(new.options ->> 'emitEvents', 'auto') <> 'none')
  execute function hubblewave.tell_import();

-- The state of the queue for /metrics of processes that see no tenant's rows.
create function hubblewave.webhook_queue()
  returns table (state text, depth bigint, oldest_seconds double precision)
  language sql stable security definer set search_path = pg_catalog
as $$
  select d.state, count(*), coalesce(extract(epoch from max(now() - d.next_at)), 0)::double precision
  from hubblewave.webhook_deliveries d group by d.state
  union all
  select 'unfanned', count(*), coalesce(extract(epoch from max(now() - e.occurred_at)), 0)
  from hubblewave.events e where e.fanned_at is null
  union all
  select 'dead', count(*), coalesce(extract(epoch from max(now() - l.failed_at)), 0)
  from hubblewave.webhook_dead_letters l where l.resolved_at is null
  union all
  select 'circuit_open', count(*), 0 from hubblewave.webhook_health h where h.open_until > now()
  union all
  select 'disabled', count(*), 0 from hubblewave.webhooks w where w.disabled_at is not null
$$;
revoke all on function hubblewave.webhook_queue() from public;
grant execute on function hubblewave.webhook_queue() to hubblewave_app;
