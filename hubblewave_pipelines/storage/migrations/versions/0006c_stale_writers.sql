-- Rules that a table does not know (patterns, forms of addresses) are kept by whoever writes. A
-- writer that began before such a rule was published must not end after it: its transaction says
-- which version of the definitions it knows, and a trigger of the table refuses the older ones.

create or replace function hubblewave.authenticate(key_id text, digest bytea)
  returns table (tenant_id uuid, tenant_slug text, actor_id uuid, scopes text[], plan text,
                 schema_name text, catalog_version bigint)
  language sql volatile security definer set search_path = pg_catalog, hubblewave
as $$
  select set_config('hubblewave.tenant', t.id::text, true)::uuid, t.slug,
         set_config('hubblewave.actor', k.actor_id::text, true)::uuid, k.scopes,
         coalesce(k.plan, t.plan), t.schema_name,
         set_config('hubblewave.catalog', t.catalog_version::text, true)::bigint
  from hubblewave.api_keys k
  join hubblewave.tenants t on t.id = k.tenant_id
  where k.id = key_id and k.key_hash = digest and k.revoked_at is null
    and (k.expires_at is null or k.expires_at > now())
$$;

-- What the transaction knows; null where it does not say.
create function hubblewave.known_catalog() returns bigint language sql stable parallel safe
  return nullif(current_setting('hubblewave.catalog', true), '')::bigint;

-- To a caller it looks like a column that is gone: begin again with the definition as it is now.
create function hubblewave.refuse_stale() returns trigger language plpgsql
  set search_path = pg_catalog
as $$
begin
  raise exception 'the definition has changed' using errcode = 'undefined_column';
end $$;
