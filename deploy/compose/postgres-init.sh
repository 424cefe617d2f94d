#!/bin/sh
# First start of the database container: the platform's role (no superuser) and its two databases.
set -eu
psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -v password="$POSTGRES_PASSWORD" <<'SQL'
create role hubblewave login createrole password :'password';
create database hubblewave owner hubblewave encoding 'UTF8' template template0;
create database dagster owner hubblewave encoding 'UTF8' template template0;
SQL
