"""The key of secrets and cursors: from the settings, or a file that only its owner may read."""

import hmac
import os
from functools import cached_property
from pathlib import Path
from uuid import UUID

from hubblewave_pipelines.core.envelope import Envelope, new_key, read_key
from hubblewave_pipelines.core.errors import Misconfigured
from hubblewave_pipelines.settings import Settings


def key_file(settings: Settings) -> Path:
    return settings.secret_key_file or settings.data_dir / "secret.key"


def make_key_file(path: Path) -> bool:
    """Write a fresh key unless the file is there; whether it was written. Safe to race for."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(f"{new_key()}\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(unfinished, path)  # unlike a rename, fails when somebody was first
    except FileExistsError:
        return False
    finally:
        unfinished.unlink()
    return True


class Secrets:
    """What one process makes of the key; it is read on first use, so that a process without secrets
    needs none. Everything here raises Misconfigured when there is no key, or others may read its file.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._of_tenant: dict[UUID, bytes] = {}

    @cached_property
    def envelope(self) -> Envelope:
        return Envelope(self._key)

    def cursor_secret(self, tenant_id: UUID) -> bytes:
        """What seals a tenant's cursors: a key of its own, from which the other is not found."""
        found = self._of_tenant.get(tenant_id)
        if found is None:
            bound = b"hubblewave cursors 1 " + tenant_id.bytes
            found = self._of_tenant[tenant_id] = hmac.digest(self._key, bound, "sha256")
        return found

    @cached_property
    def _key(self) -> bytes:
        settings = self._settings
        if settings.secret_key is not None:
            return read_key(settings.secret_key.get_secret_value())
        path = key_file(settings)
        try:
            mode = path.stat().st_mode & 0o777
            text = path.read_text()
        except OSError as error:
            raise Misconfigured(
                f"The secret key cannot be read from {path} ({error.strerror}): set "
                "HUBBLEWAVE_SECRET_KEY to 32 random bytes in base64, the same for every process."
            ) from error
        if mode & 0o077:
            raise Misconfigured(f"{path} may be read by others (mode {mode:o}): chmod 600 {path}")
        return read_key(text)
