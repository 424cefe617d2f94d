-- Comparisons of numeric are not leakproof, so under a policy they cannot use an index. This finds the
-- ids with the owner's rights, of the tenant at work alone; the records are then read by id, under the
-- policy like any others. See docs/decisions/0012.
create function hubblewave.ids_by_decimal(source regclass, field name, wanted numeric[])
  returns setof uuid language plpgsql stable rows 1 parallel restricted
  security definer set search_path = pg_catalog
as $$
begin
  if not exists (
    select from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join hubblewave.tenants t on t.schema_name = n.nspname
    where c.oid = source and t.id = hubblewave.current_tenant()
  ) then
    return;
  end if;
  return query execute format('select id from %s where %I = any($1)', source, field) using wanted;
end $$;
revoke all on function hubblewave.ids_by_decimal(regclass, name, numeric[]) from public;
grant execute on function hubblewave.ids_by_decimal(regclass, name, numeric[]) to hubblewave_app;
