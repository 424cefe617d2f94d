-- The event `webhook.dead_letter` comes once per webhook and hour at most.
alter table hubblewave.webhook_health
  add column dead_letters_told_at timestamptz;
