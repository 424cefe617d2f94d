-- Format, compression, encoding, delimiter, sheet, place of the records and columns of the file;
-- an import that was accepted before has none, and finds out again when it runs.
alter table hubblewave.import_jobs add column detected jsonb not null default '{}';
