-- A transaction that began early may change a record last: it waited for the row. Its versions then
-- carry the higher xid of those they replace, so that a record's versions are in order by xid too.
-- No reader can have passed that place: it is beyond the oldest transaction still running.

create or replace function hubblewave.keep_replaced() returns trigger language plpgsql
  security definer set search_path = pg_catalog set timezone = 'UTC'
as $$
begin
  if tg_op = 'UPDATE' and current_setting('hubblewave.backfill', true) = 'on' then
    return null;
  end if;
  execute format(
    'insert into %I.%I (id, version, deleted_at, deleted_by, xid, record) '
    'select o.id, o.version, $1, $2, greatest(o.xid, pg_current_xact_id()), to_jsonb(o) '
    'from replaced o',
    tg_table_schema, 'h_' || substr(tg_table_name, 3))
  using case when tg_op = 'DELETE' then now() end,
        case when tg_op = 'DELETE' then hubblewave.current_actor() end;
  return null;
end $$;

create or replace function hubblewave.stamp_version() returns trigger language plpgsql
  set search_path = pg_catalog
as $$
begin
  if current_setting('hubblewave.backfill', true) = 'on' then
    return new;
  end if;
  if new.version = old.version then
    new.version := old.version + 1;
    new.updated_at := now();
    new.updated_by := hubblewave.current_actor();
  end if;
  new.xid := greatest(old.xid, pg_current_xact_id());
  return new;
end $$;

do $$
declare
  schema text; entity text;
begin
  for schema, entity in
    select t.schema_name, e.id from hubblewave.entities e join hubblewave.tenants t on t.id = e.tenant_id
  loop
    execute replace(replace($ddl$
      drop trigger stamp on SCHEMA.e_ENTITY;
      create trigger stamp before update on SCHEMA.e_ENTITY for each row
        when (new.version = old.version or new.xid < old.xid)
        execute function hubblewave.stamp_version();
      alter table SCHEMA.h_ENTITY
        add column written xid8 generated always as ((record->>'xid')::xid8) stored;
      create index h_ENTITY_written on SCHEMA.h_ENTITY (written, id);
    $ddl$, 'SCHEMA', quote_ident(schema)), 'ENTITY', entity);
  end loop;
end $$;
