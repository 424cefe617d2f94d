-- History of records and the order of their changes. Each entity has a table h_<id> beside its
-- e_<id>; the functions here fill it, and the last block gives it to entities that exist already.

-- Who acts in this transaction, for statements that have no place to say it (DELETE, SET NULL).
create function hubblewave.current_actor() returns uuid language sql stable parallel safe
  return nullif(current_setting('hubblewave.actor', true), '')::uuid;

create or replace function hubblewave.authenticate(key_id text, digest bytea)
  returns table (tenant_id uuid, tenant_slug text, actor_id uuid, scopes text[], plan text,
                 schema_name text, catalog_version bigint)
  language sql volatile security definer set search_path = pg_catalog, hubblewave
as $$
  select set_config('hubblewave.tenant', t.id::text, true)::uuid, t.slug,
         set_config('hubblewave.actor', k.actor_id::text, true)::uuid, k.scopes,
         coalesce(k.plan, t.plan), t.schema_name, t.catalog_version
  from hubblewave.api_keys k
  join hubblewave.tenants t on t.id = k.tenant_id
  where k.id = key_id and k.key_hash = digest and k.revoked_at is null
    and (k.expires_at is null or k.expires_at > now())
$$;

-- Runs with the owner's rights: the app role may read history and not write it. All rows of a
-- statement at once, so that an import pays per chunk and an insert pays nothing. The time zone is
-- part of what to_jsonb writes, so it is fixed.
create function hubblewave.keep_replaced() returns trigger language plpgsql
  security definer set search_path = pg_catalog set timezone = 'UTC'
as $$
begin
  execute format(
    'insert into %I.%I (id, version, deleted_at, deleted_by, record) '
    'select o.id, o.version, $1, $2, to_jsonb(o) from replaced o',
    tg_table_schema, 'h_' || substr(tg_table_name, 3))
  using case when tg_op = 'DELETE' then now() end,
        case when tg_op = 'DELETE' then hubblewave.current_actor() end;
  return null;
end $$;
revoke all on function hubblewave.keep_replaced() from public;

-- For updates that do not count versions themselves: what deleting a referenced record sets null.
create function hubblewave.stamp_version() returns trigger language plpgsql
  set search_path = pg_catalog
as $$
begin
  new.version := old.version + 1;
  new.updated_at := now();
  new.updated_by := hubblewave.current_actor();
  new.xid := pg_current_xact_id();
  return new;
end $$;
revoke all on function hubblewave.stamp_version() from public;

-- Entities made before this revision get what new ones are made with.
do $$
declare
  schema text; entity text; own text;
begin
  for schema, entity, own in
    select t.schema_name, e.id, pg_get_expr(p.polqual, p.polrelid)
    from hubblewave.entities e
    join hubblewave.tenants t on t.id = e.tenant_id
    join pg_policy p on p.polname = 'tenant'
      and p.polrelid = format('%I.%I', t.schema_name, 'e_' || e.id)::regclass
  loop
    execute replace(replace(replace($ddl$
      create table SCHEMA.h_ENTITY (
        n bigint generated always as identity,
        id uuid not null,
        version bigint not null,
        deleted_at timestamptz,
        deleted_by uuid,
        xid xid8 not null default pg_current_xact_id(),
        record jsonb not null,
        primary key (id, n)
      );
      create index h_ENTITY_deleted on SCHEMA.h_ENTITY (xid, id) where deleted_at is not null;
      alter table SCHEMA.h_ENTITY enable row level security;
      create policy tenant on SCHEMA.h_ENTITY to hubblewave_app using (OWN) with check (OWN);
      revoke all on SCHEMA.h_ENTITY from hubblewave_app;
      grant select on SCHEMA.h_ENTITY to hubblewave_app;
      create trigger keep_updated after update on SCHEMA.e_ENTITY
        referencing old table as replaced for each statement execute function hubblewave.keep_replaced();
      create trigger keep_deleted after delete on SCHEMA.e_ENTITY
        referencing old table as replaced for each statement execute function hubblewave.keep_replaced();
      create trigger stamp before update on SCHEMA.e_ENTITY
        for each row when (new.version = old.version) execute function hubblewave.stamp_version();
      create index o_ENTITY on SCHEMA.e_ENTITY (xid, id);
    $ddl$, 'SCHEMA', quote_ident(schema)), 'ENTITY', entity), 'OWN', own);
  end loop;
end $$;
