"""Short private directories for Unix sockets, whose paths end at about 100 bytes."""

import os
import shutil
import tempfile
from pathlib import Path

_PLACE = Path("/tmp")  # noqa: S108 - mkdtemp makes an unpredictable name that is ours alone
_PREFIX = "hubblewave-"


def make_runtime() -> Path:
    """A new directory that only we may enter."""
    short = os.access(_PLACE, os.W_OK | os.X_OK)
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_PLACE if short else None))


def remove_runtime(path: Path) -> None:
    """Remove a directory that `make_runtime` made, perhaps in an earlier process; nothing else."""
    if path.name.startswith(_PREFIX) and path.parent in (_PLACE, Path(tempfile.gettempdir())):
        shutil.rmtree(path, ignore_errors=True)
