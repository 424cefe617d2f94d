alter table hubblewave.entities
  -- With changes_since the place, in the order of commits, of the last deletion that is gone.
  add column changes_since_id uuid,
  -- The place where the last of the versions that are gone was replaced or deleted.
  add column versions_since bigint,
  add column versions_since_id uuid;

-- Removes, of the next `most` versions in an entity's history after a place, those that ended before
-- an instant, by transactions that every reader of the events could have read by now. Answers the
-- place to go on from (null: that was the end) and how many went. Runs with the owner's rights,
-- because nobody else may remove history.
create function hubblewave.trim_history(
    entity text, before timestamptz, after_id uuid, after_n bigint, most integer,
    out last_id uuid, out last_n bigint, out gone integer)
  language plpgsql security definer set search_path = pg_catalog set timezone = 'UTC'
as $$
declare
  schema text;
  replaced_xid bigint; replaced_id uuid; buried_xid bigint; buried_id uuid;
begin
  select t.schema_name into schema from hubblewave.entities e
    join hubblewave.tenants t on t.id = e.tenant_id where e.id = entity;
  if schema is null then
    gone := 0;
    return;
  end if;
  execute replace(replace($q$
    with part as materialized (
      select id, n, deleted_at from SCHEMA.h_ENTITY where (id, n) > ($1, $2) order by id, n limit $3),
    ended as (
      select p.id, p.n, coalesce(p.deleted_at,
        (select (x.record ->> 'updated_at')::timestamptz from SCHEMA.h_ENTITY x
          where x.id = p.id and x.n > p.n order by x.n limit 1),
        (select t.updated_at from SCHEMA.e_ENTITY t where t.id = p.id)) as at
      from part p),
    removed as (
      delete from SCHEMA.h_ENTITY h using ended e
        where h.id = e.id and h.n = e.n and e.at < $4
          and h.xid < pg_snapshot_xmin(pg_current_snapshot())
        returning h.deleted_at, h.xid::text::bigint as xid, h.id)
    select (select id from part order by id desc, n desc limit 1),
      (select n from part order by id desc, n desc limit 1), (select count(*) from removed),
      (select xid from removed order by xid desc, id desc limit 1),
      (select id from removed order by xid desc, id desc limit 1),
      (select xid from removed where deleted_at is not null order by xid desc, id desc limit 1),
      (select id from removed where deleted_at is not null order by xid desc, id desc limit 1)
  $q$, 'SCHEMA', quote_ident(schema)), 'ENTITY', entity)
    into last_id, last_n, gone, replaced_xid, replaced_id, buried_xid, buried_id
    using after_id, after_n, most, before;
  if gone > 0 then
    update hubblewave.entities e
      set history_since = greatest(history_since, before),
          (versions_since, versions_since_id) = (
            select xid, id from (values (e.versions_since, e.versions_since_id),
                (replaced_xid, replaced_id)) as at(xid, id)
              where xid is not null order by 1 desc, 2 desc limit 1),
          (changes_since, changes_since_id) = (
            select xid, id from (values (e.changes_since, e.changes_since_id),
                (buried_xid, buried_id)) as at(xid, id)
              where xid is not null order by 1 desc, 2 desc limit 1)
      where e.id = entity;
  end if;
end $$;
revoke all on function hubblewave.trim_history(text, timestamptz, uuid, bigint, integer) from public;
grant execute on function hubblewave.trim_history(text, timestamptz, uuid, bigint, integer)
  to hubblewave_worker;
