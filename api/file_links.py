"""Links that open a file without a credential, until they expire: signed, bound to one export."""

import base64
import hmac
import os
import re
import secrets
import time
from pathlib import Path
from uuid import UUID

from hubblewave_pipelines.core.errors import Forbidden, Gone
from hubblewave_pipelines.settings import Settings

_LINK = re.compile(r"([0-9a-f]{32})\.([0-9]{1,12})\.([A-Za-z0-9_-]{43})")
_BYTES = 32


def _secret(settings: Settings) -> bytes:
    """The same for every API process of a platform: a setting, or a file beside its data."""
    if settings.link_secret is not None:
        return settings.link_secret.get_secret_value().encode()
    path = settings.data_dir / "link-secret"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return _made(path)


def _made(path: Path) -> bytes:
    """A new secret at `path`, or the one that another process put there meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(secrets.token_bytes(_BYTES))
    try:
        os.link(unfinished, path)
    except FileExistsError:
        pass  # theirs serves as well
    finally:
        unfinished.unlink()
    return path.read_bytes()


def _mac(settings: Settings, tenant_id: UUID, export_id: UUID, expires: int) -> str:
    signed = f"export download {tenant_id} {export_id} {expires}".encode()
    digest = hmac.digest(_secret(settings), signed, "sha256")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def sign(settings: Settings, tenant_id: UUID, export_id: UUID, expires: int) -> str:
    """The `link` parameter of a download that works until `expires` (Unix time)."""
    return f"{tenant_id.hex}.{expires}.{_mac(settings, tenant_id, export_id, expires)}"


def tenant_of_link(settings: Settings, export_id: UUID, link: str) -> UUID:
    """Whose file a link opens.

    Raises Forbidden when it was changed or is another file's, Gone when its time is over.
    """
    found = _LINK.fullmatch(link)
    if found is None:
        raise Forbidden("The link is not whole; ask for a new one.")
    tenant_id, expires = UUID(found[1]), int(found[2])
    if not hmac.compare_digest(found[3], _mac(settings, tenant_id, export_id, expires)):
        raise Forbidden("The link was changed, or belongs to another file; ask for a new one.")
    if expires < time.time():
        raise Gone("The link has expired; ask for a new one.")
    return tenant_id
