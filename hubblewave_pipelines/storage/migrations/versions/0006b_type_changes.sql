-- What changes of a field's type stand on.

-- Whether a text can be read as a value of a type. PostgreSQL 16 knows it by itself; before, the
-- one way to find out is to try.
do $$
begin
  if current_setting('server_version_num')::int >= 160000 then
    create function hubblewave.fits(value text, kind text) returns boolean
      language sql stable parallel safe -- without settings of its own, so that it is inlined
      as 'select pg_input_is_valid(value, kind)';
  else
    create function hubblewave.fits(value text, kind text) returns boolean
      language plpgsql stable parallel safe set search_path = pg_catalog
    as $f$
    begin
      execute 'select cast($1 as ' || kind::regtype::text || ')' using value;
      return true;
    exception when data_exception then
      return false;
    end $f$;
  end if;
end $$;

-- Filling the second column of a field that changes its type changes no value: such updates leave
-- no version behind, and count none. The setting is this platform's own and ends with its
-- transaction.
create or replace function hubblewave.keep_replaced() returns trigger language plpgsql
  security definer set search_path = pg_catalog set timezone = 'UTC'
as $$
begin
  if tg_op = 'UPDATE' and current_setting('hubblewave.backfill', true) = 'on' then
    return null;
  end if;
  execute format(
    'insert into %I.%I (id, version, deleted_at, deleted_by, record) '
    'select o.id, o.version, $1, $2, to_jsonb(o) from replaced o',
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
  new.version := old.version + 1;
  new.updated_at := now();
  new.updated_by := hubblewave.current_actor();
  new.xid := pg_current_xact_id();
  return new;
end $$;
