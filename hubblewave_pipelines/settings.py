"""Every setting: its environment name, default and meaning. The only reader of the environment."""

import json
import os
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from hubblewave_pipelines.core.egress import DEFAULT_PORTS, Allow, parse_allow
from hubblewave_pipelines.core.errors import Misconfigured
from hubblewave_pipelines.core.scope import PLANS

_ADDRESS = re.compile(r"[^@\s,<>\x00-\x1f]+@[^@\s,<>\x00-\x1f]+")


class Settings(BaseSettings):
    """Read once per process. Each field is set by HUBBLEWAVE_<FIELD NAME IN CAPITALS>."""

    model_config = SettingsConfigDict(
        env_prefix="HUBBLEWAVE_",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # it may be a secret
    )

    data_dir: Path = Field(
        Path(".hubblewave"),
        description="Holds the embedded database, uploads, logs and Dagster's home.",
    )
    database_url: SecretStr | None = Field(
        None,
        description="PostgreSQL 15-18 for the platform; unset starts the embedded server.",
    )
    dagster_database_url: SecretStr | None = Field(
        None,
        description="Dagster's own database; must be postgresql+psycopg2://. "
        "Unset: database `dagster` on the platform's server.",
    )
    redis_url: SecretStr | None = Field(
        None, description="Shared rate limiting; unset counts inside each process."
    )
    rate_limits: dict[str, int] = Field(
        default_factory=dict,
        description="Requests a minute by plan (JSON object) where they are not free 100, "
        "professional 1000 and enterprise 10000.",
    )
    api_host: str = Field("127.0.0.1", description="Address the API listens on.")
    api_port: int = Field(8080, ge=0, le=65535, description="Port the API listens on.")
    api_workers: int = Field(1, ge=1, le=64, description="API processes.")
    dagster_host: str = Field("127.0.0.1", description="Address the Dagster UI listens on.")
    dagster_port: int = Field(3000, ge=0, le=65535, description="Port of the Dagster UI.")
    dagster_url: str | None = Field(
        None, description="Where the API reaches Dagster's webserver; default: host and port above."
    )
    code_location_host: str = Field("127.0.0.1", description="Host of the Dagster code server.")
    code_location_port: int = Field(0, ge=0, le=65535, description="Its port; 0 picks a free one.")
    public_url: str | None = Field(
        None, description="How clients reach the API, for links; default: host and port above."
    )
    api_key: SecretStr | None = Field(
        None, description="With which `hubblewave import` and `export` ask the API."
    )
    pool_size: int = Field(10, ge=1, le=200, description="Database connections per API process.")
    statement_timeout_seconds: float = Field(
        10, gt=0, description="Longest a statement of an API request may run."
    )
    max_body_bytes: int = Field(10_000_000, gt=0, description="Largest JSON request body.")
    max_import_bytes: int = Field(2_000_000_000, gt=0, description="Largest uploaded file.")
    spool_dir: Path | None = Field(
        None, description="Where uploads wait for their run; default: <data_dir>/spool, mode 0700."
    )
    max_inflated_bytes: int = Field(
        20_000_000_000, gt=0, description="Largest content of a compressed upload."
    )
    reader_memory_bytes: int = Field(
        2 << 30,
        ge=1 << 29,
        description="Address space of a process that reads JSON, XML, Parquet or workbooks.",
    )
    inspect_seconds: int = Field(
        30, ge=1, description="CPU seconds that understanding an uploaded file may take."
    )
    upload_days: int = Field(
        7, ge=1, description="Days an upload stays after its import ended, for retries."
    )
    export_days: int = Field(
        7, ge=1, description="Days an exported file can be downloaded before it is removed."
    )
    link_secret: SecretStr | None = Field(
        None,
        description="Signs links to downloads, the same for all API processes; "
        "default: made once and kept in <data_dir>/link-secret.",
    )
    file_locations: list[str] = Field(
        default_factory=list,
        description="Where exports may be written to and watches may read from: URLs such as "
        "`s3://bucket/{tenant}/` (JSON list); default: <data_dir>/files/{tenant}/.",
    )
    storage_options: SecretStr | None = Field(
        None,
        description="What those are opened with, by protocol (JSON): "
        '`{"s3": {"key": "...", "secret": "...", "endpoint_url": "https://..."}}`. '
        "Unset: as the protocol's library finds it, from AWS_* variables or the machine's role.",
    )
    history_days: int | None = Field(
        None,
        ge=1,
        description="Days a version of a record stays after another took its place; unset keeps all.",
    )
    import_chunk_rows: int = Field(
        50_000, ge=1, le=1_000_000, description="Rows an import commits at a time."
    )
    runs_per_tenant: int = Field(
        3,
        ge=1,
        description="Imports, exports and syncs of one tenant launched or at work at a time.",
    )
    warm_launcher: bool = Field(
        True, description="Fork runs from a warm process; false starts a new interpreter per run."
    )
    runner_socket: Path | None = Field(
        None, description="Unix socket of the warm runner; default: set by `hubblewave up`."
    )
    run_slots: int = Field(4, ge=1, le=64, description="Runs the warm runner executes at a time.")
    reject_warn_share: float = Field(
        0.05, ge=0, le=1, description="Share of refused rows above which an import's check warns."
    )
    graphql_introspection: bool | None = Field(
        None,
        description="Whether GraphQL shows its schema, suggests names and serves its page; unset: "
        "only on the embedded database.",
    )
    graphql_max_depth: int = Field(10, ge=1, le=50, description="Levels of a GraphQL document.")
    graphql_max_cost: int = Field(
        200_000, ge=1, description="Most values a GraphQL document may ask for: rows times fields."
    )
    websocket_operations: int = Field(
        100, ge=1, description="Subscriptions and queries a WebSocket runs at a time."
    )
    websocket_connections_per_tenant: int = Field(
        1_000, ge=1, description="WebSockets of a tenant per API process."
    )
    websocket_message_bytes: int = Field(
        1_000_000, gt=0, description="Largest message a client may send on a WebSocket."
    )
    cors_origins: list[str] = Field(
        default_factory=list, description="Origins whose pages may call the API (JSON list)."
    )
    egress_allow: str = Field(
        "",
        description="Networks that webhooks and connectors may reach beside the public internet: "
        "`CIDR:port` list, port a number, a range or `*`. Metadata addresses stay refused.",
    )
    egress_ports: list[int] = Field(
        default_factory=lambda: sorted(DEFAULT_PORTS),
        description="Ports of public addresses that they may reach (JSON list).",
    )
    egress_http: bool = Field(
        False, description="Whether they may use plain http to public addresses."
    )
    egress_proxy: str | None = Field(
        None,
        description="Forward proxy (http://host:port) for all of it, which then decides about "
        "addresses.",
    )
    transform_weak_isolation: bool = Field(
        False,
        description="Run webhook transforms also where the kernel cannot lock down their process "
        "(no seccomp): for machines without secrets only.",
    )
    secret_key: SecretStr | None = Field(
        None,
        description="Key of the secrets that are stored (webhooks, connectors) and of what seals cursors: "
        "32 bytes in base64, the same for every process. Unset: the key file.",
    )
    secret_key_file: Path | None = Field(
        None,
        description="File with that key, mode 0600; default: <data_dir>/secret.key, which "
        "`hubblewave up` makes on its first start.",
    )
    worker_host: str = Field(
        "127.0.0.1", description="Address where a delivery worker shows health and metrics."
    )
    worker_port: int = Field(0, ge=0, le=65535, description="Its port; 0 picks a free one.")
    webhook_concurrency: int = Field(
        100,
        ge=1,
        le=2000,
        description="Deliveries a worker has in flight at a time: begun, and not recorded.",
    )
    webhook_endpoint_in_flight: int = Field(
        10, ge=1, le=100, description="Of these, to one webhook."
    )
    webhook_tenant_in_flight: int = Field(
        50, ge=1, le=2000, description="Of these, for one tenant."
    )
    webhook_timeout_seconds: float = Field(
        30, gt=0, le=300, description="Longest a receiver may take to answer in full."
    )
    webhook_lease_seconds: float = Field(
        90,
        gt=0,
        description="After this long without a sign of life a worker's deliveries are "
        "taken from it and sent again.",
    )
    webhook_drain_seconds: float = Field(
        35, ge=0, description="How long a worker that is asked to stop waits for receivers."
    )
    webhook_disable_hours: float = Field(
        120, gt=0, description="Hours of failures without one success that disable a webhook."
    )
    webhook_success_hours: int = Field(
        24, ge=1, description="Hours that details of successful deliveries are kept."
    )
    webhook_failed_days: int = Field(
        7, ge=1, description="Days that details of failed deliveries are kept."
    )
    event_days: int = Field(
        14, ge=1, description="Days that events are kept for replays; resolved dead letters too."
    )
    smtp_url: SecretStr | None = Field(
        None,
        description="Mail server for letters to the operators (webhooks that were disabled, deliveries "
        "that were given up): `smtp://user:password@host:587` with STARTTLS, or `smtps://`.",
    )
    alert_emails: list[str] = Field(
        default_factory=list, description="Whom it writes to (JSON list); unset: nobody."
    )
    alert_from: str = Field("hubblewave@localhost", description="Whom it writes as.")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @model_validator(mode="after")
    def _dagster_driver(self) -> Self:
        url = self.dagster_database_url
        if url is not None and not url.get_secret_value().startswith("postgresql+psycopg2://"):
            raise ValueError(
                "HUBBLEWAVE_DAGSTER_DATABASE_URL must start with postgresql+psycopg2://"
            )
        return self

    @field_validator("rate_limits")
    @classmethod
    def _known_plans(cls, given: dict[str, int]) -> dict[str, int]:
        for plan, requests in given.items():
            if plan not in PLANS or requests < 1:
                raise ValueError(
                    f"HUBBLEWAVE_RATE_LIMITS: {plan}={requests} is no limit; give a number from 1 "
                    f"for some of {', '.join(PLANS)}"
                )
        return given

    @field_validator("smtp_url")
    @classmethod
    def _mail_server(cls, given: SecretStr | None) -> SecretStr | None:
        if given is not None:
            try:
                url = urlsplit(given.get_secret_value())
                fit = url.scheme in ("smtp", "smtps") and bool(url.hostname) and url.port != 0
            except ValueError:
                fit = False
            if not fit:
                raise ValueError(
                    "HUBBLEWAVE_SMTP_URL must be smtp://host:port or smtps://host:port"
                )
        return given

    @field_validator("alert_from", "alert_emails")
    @classmethod
    def _mail_addresses(cls, given: str | list[str]) -> str | list[str]:
        for text in [given] if isinstance(given, str) else given:
            if not _ADDRESS.fullmatch(text):
                raise ValueError(f"{text!r} is no mail address like name@host")
        return given

    @field_validator("egress_allow")
    @classmethod
    def _readable_allow_list(cls, given: str) -> str:
        try:
            parse_allow(given)
        except Misconfigured as error:
            raise ValueError(error.detail) from error
        return given

    @field_validator("storage_options")
    @classmethod
    def _objects_by_protocol(cls, given: SecretStr | None) -> SecretStr | None:
        if given is not None:
            _by_protocol(given)
        return given

    @field_validator("spool_dir", "data_dir")
    @classmethod
    def _folders_of_this_machine(cls, given: Path | None) -> Path | None:
        if given is not None and re.match(r"[a-z0-9]{2,}:/", str(given)):  # Path makes :// to :/
            raise ValueError(
                f"{given} is a URL; name a folder of this machine, or one that machines share"
            )
        return given

    @property
    def egress(self) -> Allow:
        """Where requests to addresses that tenants choose may go."""
        return replace(
            parse_allow(self.egress_allow),
            ports=frozenset(self.egress_ports),
            http=self.egress_http,
            proxy=self.egress_proxy,
        )

    def require_database_url(self) -> str:
        """The platform's database URL, for processes that cannot start an embedded server.

        Raises Misconfigured when unset.
        """
        if self.database_url is None:
            raise Misconfigured(
                "HUBBLEWAVE_DATABASE_URL is not set: start the platform with `hubblewave up`, "
                "or set it to a PostgreSQL 15-18 URL."
            )
        return self.database_url.get_secret_value()

    def require_dagster_database_url(self) -> str:
        """Dagster's database URL, once `hubblewave up` or the environment has set it.

        Raises Misconfigured when unset.
        """
        if self.dagster_database_url is None:
            raise Misconfigured("HUBBLEWAVE_DAGSTER_DATABASE_URL is not set.")
        return self.dagster_database_url.get_secret_value()

    @property
    def spool(self) -> Path:
        return self.spool_dir or self.data_dir / "spool"

    @property
    def export_dir(self) -> Path:
        """Where finished files wait to be downloaded; beside the uploads, and as private."""
        return self.spool.resolve() / "exports"

    @property
    def locations(self) -> list[str]:
        """URLs inside which the platform may write and read files."""
        return self.file_locations or [f"file://{self.data_dir.resolve()}/files/{{tenant}}/"]

    def options_of(self, protocol: str) -> dict[str, Any]:
        """What file systems of a protocol are opened with; may hold secrets."""
        return {} if self.storage_options is None else _by_protocol(self.storage_options)[protocol]

    @property
    def api_url(self) -> str:
        return self.public_url or f"http://{self.api_host}:{self.api_port}"

    @property
    def dagster_base_url(self) -> str:
        return self.dagster_url or f"http://{self.dagster_host}:{self.dagster_port}"

    def child_environment(self) -> dict[str, str]:
        """Our environment with every setting fixed to its present value, for a child process."""
        prefix = str(self.model_config["env_prefix"])
        inherited = os.environ.items()  # noqa: TID251 - this module is the one that reads it
        ours = {name: text for name, text in inherited if not name.startswith(prefix)}
        fixed = {name: _as_text(getattr(self, name)) for name in type(self).model_fields}
        return ours | {f"{prefix}{k.upper()}": v for k, v in fixed.items() if v is not None}


def _by_protocol(given: SecretStr) -> dict[str, dict[str, Any]]:
    """Raises ValueError, which does not repeat what was given."""
    try:
        found = json.loads(given.get_secret_value())
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise ValueError(
            'HUBBLEWAVE_STORAGE_OPTIONS must be a JSON object of objects: {"s3": {"key": ...}}'
        )
    return defaultdict(dict, found)


def _as_text(value: object) -> str | None:
    """A setting as the environment carries it; None when it is unset."""
    match value:
        case None:
            return None
        case SecretStr():
            return value.get_secret_value()
        case list() | dict() | bool():
            return json.dumps(value)
        case _:
            return str(value)
