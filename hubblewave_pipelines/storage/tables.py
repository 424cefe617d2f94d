"""SQLAlchemy Core description of the control tables that statements are built on.

The migrations make the tables; a test compares the two. Private to `storage`.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    FetchedValue,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData(schema="hubblewave")
_AT = DateTime(timezone=True)

tenants = Table(
    "tenants",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=FetchedValue()),
    Column("slug", Text),
    Column("name", Text),
    Column("plan", Text),
    Column("schema_name", Text),
    Column("catalog_version", BigInteger),
    Column("created_at", _AT),
)

users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=FetchedValue()),
    Column("tenant_id", Uuid),
    Column("email", Text),
    Column("name", Text),
    Column("picture", Text),
    Column("password_hash", Text),
    Column("active", Boolean),
    Column("created_at", _AT),
    Column("updated_at", _AT),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", Uuid),
    Column("actor_id", Uuid),
    Column("name", Text),
    Column("key_hash", LargeBinary),
    Column("key_prefix", Text),
    Column("scopes", ARRAY(Text)),
    Column("plan", Text),
    Column("expires_at", _AT),
    Column("last_used_at", _AT),
    Column("revoked_at", _AT),
    Column("created_by", Uuid),
    Column("created_at", _AT),
)

entities = Table(
    "entities",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", Uuid),
    Column("slug", Text),
    Column("name", Text),
    Column("definition", JSONB),
    Column("created_at", _AT),
    Column("updated_at", _AT),
    Column("history_since", _AT),
    Column("changes_since", BigInteger),
    Column("changes_since_id", Uuid),
    Column("versions_since", BigInteger),
    Column("versions_since_id", Uuid),
)

schema_changes = Table(
    "schema_changes",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=FetchedValue()),
    Column("tenant_id", Uuid),
    Column("entity_id", Text),
    Column("steps", JSONB),
    Column("steps_done", Integer),
    Column("state", Text),
    Column("error", Text),
    Column("requested_by", Uuid),
    Column("created_at", _AT),
    Column("finished_at", _AT),
)

import_jobs = Table(
    "import_jobs",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=FetchedValue()),
    Column("tenant_id", Uuid),
    Column("entity_id", Text),
    Column("entity_name", Text),
    Column("file_name", Text),
    Column("file_size", BigInteger),
    Column("file_type", Text),
    Column("file_sha256", LargeBinary),
    Column("spool_path", Text),
    Column("mapping", JSONB),
    Column("options", JSONB),
    Column("detected", JSONB),
    Column("status", Text),
    Column("cancel_requested", Boolean),
    Column("bytes_done", BigInteger),
    Column("total_records", BigInteger),
    Column("created_records", BigInteger),
    Column("updated_records", BigInteger),
    Column("unchanged_records", BigInteger),
    Column("skipped_records", BigInteger),
    Column("failed_records", BigInteger),
    Column("error", JSONB),
    Column("run_id", Text),
    Column("created_by", Uuid),
    Column("created_at", _AT),
    Column("started_at", _AT),
    Column("completed_at", _AT),
)

import_chunks = Table(
    "import_chunks",
    metadata,
    Column("tenant_id", Uuid),
    Column("import_id", Uuid, primary_key=True),
    Column("chunk_no", Integer, primary_key=True),
    Column("offset_start", BigInteger),
    Column("offset_end", BigInteger),
    Column("first_row", BigInteger),
    Column("rows", Integer),
    Column("created", Integer),
    Column("updated", Integer),
    Column("unchanged", Integer),
    Column("skipped", Integer),
    Column("failed", Integer),
    Column("run_id", Text),
    Column("committed_at", _AT),
)

import_errors = Table(
    "import_errors",
    metadata,
    Column("tenant_id", Uuid),
    Column("import_id", Uuid, primary_key=True),
    Column("row_no", BigInteger, primary_key=True),
    Column("field", Text, primary_key=True),
    Column("code", Text),
    Column("message", Text),
    Column("raw", Text),
)

export_jobs = Table(
    "export_jobs",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=FetchedValue()),
    Column("tenant_id", Uuid),
    Column("entity_id", Text),
    Column("entity_name", Text),
    Column("query", JSONB),
    Column("format", Text),
    Column("options", JSONB),
    Column("schedule", Text),
    Column("timezone", Text),
    Column("next_run_at", _AT),
    Column("last_export_id", Uuid),
    Column("schedule_id", Uuid),
    Column("destination", Text),
    Column("delivered_to", Text),
    Column("status", Text),
    Column("cancel_requested", Boolean),
    Column("records_done", BigInteger),
    Column("records_expected", BigInteger),
    Column("total_records", BigInteger),
    Column("file_path", Text),
    Column("file_name", Text),
    Column("file_size", BigInteger),
    Column("file_sha256", LargeBinary),
    Column("manifest", JSONB),
    Column("expires_at", _AT),
    Column("removed_at", _AT),
    Column("error", JSONB),
    Column("run_id", Text),
    Column("created_by", Uuid),
    Column("created_at", _AT),
    Column("started_at", _AT),
    Column("completed_at", _AT),
)

import_watches = Table(
    "import_watches",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=FetchedValue()),
    Column("tenant_id", Uuid),
    Column("entity_id", Text),
    Column("entity_name", Text),
    Column("url", Text),
    Column("pattern", Text),
    Column("mapping", JSONB),
    Column("options", JSONB),
    Column("active", Boolean),
    Column("last_scan_at", _AT),
    Column("last_error", Text),
    Column("created_by", Uuid),
    Column("created_at", _AT),
)

import_watch_files = Table(
    "import_watch_files",
    metadata,
    Column("tenant_id", Uuid),
    Column("watch_id", Uuid, primary_key=True),
    Column("path", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("size", BigInteger),
    Column("seen_at", _AT),
    Column("import_id", Uuid),
    Column("error", Text),
)

work_requests = Table(
    "work_requests",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=FetchedValue()),
    Column("tenant_id", Uuid),
    Column("kind", Text),
    Column("ref_id", Uuid),
    Column("asset_key", ARRAY(Text)),
    Column("window_start", _AT),
    Column("window_end", _AT),
    Column("state", Text),
    Column("attempt", Integer),
    Column("max_attempts", Integer),
    Column("run_id", Text),
    Column("not_before", _AT),
    Column("error", Text),
    Column("requested_by", Uuid),
    Column("created_at", _AT),
    Column("submitted_at", _AT),
    Column("started_at", _AT),
    Column("finished_at", _AT),
)

defs_states = Table(
    "defs_states",
    metadata,
    Column("key", Text, primary_key=True),
    Column("version", Text),
    Column("updated_at", _AT),
)

defs_state_versions = Table(
    "defs_state_versions",
    metadata,
    Column("key", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("state", LargeBinary),
    Column("created_at", _AT),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary),
    Column("status", SmallInteger),
    Column("headers", JSONB),
    Column("body", Text),
    Column("created_at", _AT),
)

persisted_documents = Table(
    "persisted_documents",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    Column("document", Text),
    Column("created_by", Uuid),
    Column("created_at", _AT),
)
