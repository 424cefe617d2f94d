-- The attempt that is under way is told by its delivery: which, since when, and by whom. Its row in
-- `webhook_attempts` is written once, with what came of it, instead of twice.
alter table hubblewave.webhook_deliveries add column worker text;

-- Asked once an hour, whether a day's events are still needed: not worth an entry per change of a row.
drop index hubblewave.webhook_deliveries_age;
create index webhook_deliveries_age on hubblewave.webhook_deliveries using brin (occurred_at);

-- A transform that fails every time: the webhook is disabled, and what waits for it is held.
alter table hubblewave.webhook_health add column transform_failures integer not null default 0;
alter table hubblewave.webhooks drop constraint webhooks_disabled_reason_check;
alter table hubblewave.webhooks add constraint webhooks_disabled_reason_check
  check (disabled_reason in ('gone', 'failing', 'transform'));

-- Letters to the operators: one per event that they are told by mail, sent by one worker at a time.
create table hubblewave.alert_mails (
  event_id uuid primary key,
  tenant_id uuid not null,
  type text not null,
  data text not null,
  occurred_at timestamptz not null,
  attempts integer not null default 0,
  next_at timestamptz not null default now(),
  sent_at timestamptz
);
create index alert_mails_due on hubblewave.alert_mails (next_at) where sent_at is null;
create index alert_mails_age on hubblewave.alert_mails (occurred_at);
alter table hubblewave.alert_mails enable row level security;
create policy tenant on hubblewave.alert_mails to hubblewave_app
  using (tenant_id = (select hubblewave.current_tenant()))
  with check (tenant_id = (select hubblewave.current_tenant()));
create policy worker on hubblewave.alert_mails to hubblewave_worker using (true) with check (true);
grant select, insert, update, delete on hubblewave.alert_mails to hubblewave_worker;
