-- Looking up the job for every row took more than half of the time in which a page was learnt. Whoever
-- writes the shadow holds the job's row, so a job cannot go meanwhile; when it goes, so does all that
-- was known for it.
alter table hubblewave.sync_shadow drop constraint sync_shadow_tenant_id_job_id_fkey;
create function hubblewave.forget_shadow() returns trigger language plpgsql
  security definer set search_path = pg_catalog
as $$
begin
  delete from hubblewave.sync_shadow s where s.job_id = old.id;
  return null;
end $$;
revoke all on function hubblewave.forget_shadow() from public;
create trigger forget_shadow after delete on hubblewave.sync_jobs for each row
  execute function hubblewave.forget_shadow();
