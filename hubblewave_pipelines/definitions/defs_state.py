"""Dagster's component states in the platform's database, with a copy beside the process.

No shared disk, one row per key (so refreshes cannot lose each other), and definitions that load
from the copy while the database is down.
"""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from dagster import StringSource
from dagster._config import Field
from dagster._core.storage.defs_state.base import DefsStateStorage
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from dagster_shared.serdes.objects.models.defs_state_info import DefsKeyStateInfo, DefsStateInfo
from psycopg import OperationalError

from hubblewave_pipelines.core.errors import NotFound
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import defs_states
from hubblewave_pipelines.storage.database import Database, Role, Transaction

logger = logging.getLogger(__name__)


class PgDefsStateStorage(DefsStateStorage[Any], ConfigurableClass):
    """Configured in dagster.yaml with the platform's database URL and a directory for the copy."""

    def __init__(
        self, url: str, copy_dir: str | None = None, inst_data: ConfigurableClassData | None = None
    ) -> None:
        self._inst_data = inst_data
        self._database = Database(url, Role.WORKER)
        self._copy = Path(copy_dir) if copy_dir else None

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        return {
            "url": Field(StringSource),
            "copy_dir": Field(StringSource, is_required=False),
        }

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """The copy is kept in the data directory unless `copy_dir` says otherwise."""
        copy_dir = config_value.get("copy_dir") or str(Settings().data_dir / "defs-state")
        return cls(url=config_value["url"], copy_dir=copy_dir, inst_data=inst_data)

    def get_latest_defs_state_info(self) -> DefsStateInfo | None:
        """The newest version of each key; what was newest when the database was last seen, when it
        is down; None when nothing was ever stored."""
        try:
            with self._transaction() as tx:
                latest = {
                    row.key: (row.version, row.updated_at.timestamp())
                    for row in tx.all(defs_states.latest_versions())
                }
        except OperationalError as error:
            logger.warning("Component states are read from the local copy: %s", error)
            latest = self._copied_versions()
        else:
            self._write_copy("latest.json", json.dumps(latest).encode())
        if not latest:
            return None
        return DefsStateInfo(
            info_mapping={
                key: DefsKeyStateInfo(version=version, create_timestamp=stamp)
                for key, (version, stamp) in latest.items()
            }
        )

    def download_state_to_path(self, key: str, version: str, path: Path) -> None:
        """Raises NotFound when that version was never stored, psycopg's OperationalError when the
        database is down and the version is not in the local copy."""
        copied = self._copy / self._name(key, version) if self._copy else None
        if copied is not None and copied.exists():
            path.write_bytes(copied.read_bytes())
            return
        with self._transaction() as tx:
            state = tx.one(defs_states.read_state(key, version))
        if state is None:
            raise NotFound(f"No state {version} of {key} is stored.")
        path.write_bytes(state)
        self._write_copy(self._name(key, version), state)

    def upload_state_from_path(self, key: str, version: str, path: Path) -> None:
        self.store(key, version, path.read_bytes())

    def store(self, key: str, version: str, state: bytes) -> None:
        """Keep `state` as `version` and make it the newest, in one transaction."""
        with self._transaction() as tx:
            tx.run(defs_states.write_state(key, version, state))
            tx.run(defs_states.set_latest(key, version))
            tx.run(defs_states.drop_old_versions(key))

    def set_latest_version(self, key: str, version: str | None) -> None:
        with self._transaction() as tx:
            if version is None:
                tx.run(defs_states.forget_latest(key))
            else:
                tx.run(defs_states.set_latest(key, version))

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        """Without the pool, whose threads a process that will fork must not have."""
        with self._database.connect(autocommit=False) as connection:
            yield Transaction(connection)

    def _name(self, key: str, version: str) -> str:
        return f"{self._sanitize_key(key)}@{self._sanitize_key(version)}"

    def _copied_versions(self) -> dict[str, tuple[str, float]]:
        if self._copy is None or not (self._copy / "latest.json").exists():
            return {}
        stored = json.loads((self._copy / "latest.json").read_bytes())
        return {key: (version, stamp) for key, (version, stamp) in stored.items()}

    def _write_copy(self, name: str, content: bytes) -> None:
        if self._copy is None:
            return
        target = self._copy / name
        if target.exists() and target.read_bytes() == content:
            return
        partial = self._copy / f"{name}.{time.time_ns()}"
        try:
            self._copy.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content)
            partial.replace(target)  # readers see the old file or the new one
        except OSError as error:
            logger.warning("No copy of the component states is kept: %s", error)
