-- When API keys were last used, told by the processes that saw them; and what of an entity's
-- history is kept, once old versions are removed.

-- Runs with the owner's rights, because a process tells of the keys of many tenants at once. Keys
-- that another process is telling of are left to it.
create function hubblewave.note_keys(ids text[]) returns void
  language sql volatile security definer set search_path = pg_catalog, hubblewave
as $$
  update hubblewave.api_keys set last_used_at = now()
  where id in (
    select k.id from hubblewave.api_keys k
    where k.id = any(ids) and (k.last_used_at is null or k.last_used_at < now() - interval '55 s')
    order by k.id for update skip locked)
$$;
revoke all on function hubblewave.note_keys(text[]) from public;
grant execute on function hubblewave.note_keys(text[]) to hubblewave_app;

alter table hubblewave.entities
  -- Versions that ended before this instant are gone; null: all are kept.
  add column history_since timestamptz,
  -- Deletions by transactions before this one are gone from the change feed.
  add column changes_since bigint;
