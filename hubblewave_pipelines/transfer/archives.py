"""ZIP and gzip files before anything of them is inflated: what is refused, and the one member."""

import re
import stat
import struct
import unicodedata
import zipfile
from pathlib import Path, PurePosixPath

from hubblewave_pipelines.core.errors import ImportFailed

RATIO = 250  # inflated to compressed; text reaches 100, deflate itself 1,032
FREE_BYTES = 64 << 20  # below this no ratio is too much
_DEFLATE = 1_032
MAX_ENTRIES = 1_000
_MAX_DIRECTORY = 4 << 20
_MAX_SHEETS = 4 << 30  # bytes that the parts of a workbook inflate to
_END = struct.Struct("<4s4H2LH")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ZIP, _END_MARK, _END64_MARK = b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x07"


def check_directory(path: Path) -> None:
    """Refuse a ZIP whose directory is too large to be read, by its last bytes alone."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _END.size - 65_535))
        tail = file.read()
    at = tail.rfind(_END_MARK)
    if at < 0 or len(tail) - at < _END.size:
        raise ImportFailed("The zip file is cut short or damaged: its directory is missing.")
    _, _, _, _, entries, length, _, _ = _END.unpack_from(tail, at)
    if _END64_MARK in tail[max(0, at - 20) : at]:
        raise ImportFailed("The zip file is of the 64-bit kind; send at most 4 GB, or gzip.")
    if entries > MAX_ENTRIES or length > _MAX_DIRECTORY:
        raise ImportFailed(f"The zip file has more than {MAX_ENTRIES} entries.")


def entries_of(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The entries, each checked by its directory record. Raises ImportFailed."""
    found = archive.infolist()
    if len(found) > MAX_ENTRIES:
        raise ImportFailed(f"The zip file has more than {MAX_ENTRIES} entries.")
    seen: set[str] = set()
    for entry in found:
        _check_name(entry)
        plain = unicodedata.normalize("NFC", entry.filename).casefold()
        if plain in seen:
            raise ImportFailed(f"The zip file holds {_shown(entry)} twice.")
        seen.add(plain)
        if entry.flag_bits & _ENCRYPTED:
            raise ImportFailed("The zip file is encrypted; send it without a password.")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise ImportFailed(f"The zip file holds a link, {_shown(entry)}.")
        if entry.compress_type not in _METHODS:
            raise ImportFailed("The zip file is packed by another method than deflate.")
        if entry.file_size > FREE_BYTES and entry.file_size > RATIO * entry.compress_size:
            raise ImportFailed(
                f"{_shown(entry)} inflates to more than {RATIO} times its size: refused as a bomb."
            )
    return found


def _check_name(entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename
    parts = PurePosixPath(name.replace("\\", "/")).parts
    unsafe = (
        not name
        or name.startswith(("/", "\\"))
        or ".." in parts
        or re.match(r"[A-Za-z]:", name) is not None
        or any(ord(char) < 32 for char in name)
        or any(_RESERVED.fullmatch(part) for part in parts)
    )
    if unsafe:
        raise ImportFailed(f"The zip file holds an entry with an unsafe name, {_shown(entry)}.")


def _shown(entry: zipfile.ZipInfo) -> str:
    name = "".join(c if c.isprintable() else "?" for c in entry.orig_filename)
    return f'"{name[:60]}"'


def the_member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The one file in a ZIP; what macOS adds does not count. Raises ImportFailed."""
    files = [
        entry
        for entry in entries_of(archive)
        if not entry.is_dir()
        and not entry.filename.startswith("__MACOSX/")
        and not entry.filename.endswith(".DS_Store")
    ]
    if len(files) != 1:
        raise ImportFailed(f"The zip file holds {len(files)} files; send exactly one.")
    return files[0]


def is_workbook(path: Path) -> bool:
    """Whether a ZIP is an XLSX file."""
    check_directory(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except zipfile.BadZipFile as error:
        raise ImportFailed(f"The zip file is damaged: {error}.") from error
    return "[Content_Types].xml" in names and any(name.startswith("xl/") for name in names)


def check_workbook(path: Path) -> None:
    """Refuse an XLSX file that would inflate beyond measure."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in entries_of(archive))
    except zipfile.BadZipFile as error:
        raise ImportFailed(f"The workbook is damaged: {error}.") from error
    if size > _MAX_SHEETS:
        raise ImportFailed(f"The workbook inflates to more than {_MAX_SHEETS} bytes.")


def check_gzip(path: Path) -> None:
    """Refuse a gzip file whose last bytes tell of a bomb (they hold the size modulo 4 GiB)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 4))
        told = int.from_bytes(file.read(4), "little")
    # Beyond what deflate can do they are no size: the file is cut short, which reading it tells.
    if told > FREE_BYTES and RATIO * size < told <= _DEFLATE * size:
        raise ImportFailed(
            f"The file inflates to more than {RATIO} times its size: refused as a bomb."
        )
