"""Files that are read in a process of their own: what a parser does there cannot harm this one."""

import json
import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubblewave_pipelines.core.errors import ImportFailed
from hubblewave_pipelines.core.import_options import ImportOptions
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.transfer.formats import Format, Source, recognised

_log = logging.getLogger(__name__)
PROGRAM = (sys.executable, "-P", "-m", "hubblewave_pipelines.transfer.reader")
# Nothing of our own environment, which holds secrets; no threads, whose stacks count as memory.
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_SAID = 2_000  # characters of what a process said before it died


@dataclass(frozen=True, slots=True)
class Limits:
    """What the reading of one file may cost. Times are in seconds, sizes in bytes."""

    memory: int = 2 << 30
    inspect_seconds: int = 30
    read_seconds: int = 4 * 3600  # of CPU
    max_inflated: int = 20_000_000_000


def limits_of(settings: Settings) -> Limits:
    return Limits(
        memory=settings.reader_memory_bytes,
        inspect_seconds=settings.inspect_seconds,
        max_inflated=settings.max_inflated_bytes,
    )


def inspect(path: Path, file_name: str, options: ImportOptions, limits: Limits) -> Source:
    """What a file is, and its columns. Raises ImportFailed.

    CSV is understood in this process, as its reader is our own; every other format in another.
    """
    source = recognised(path, file_name, options, max_inflated=limits.max_inflated)
    if source.format is Format.CSV:
        return source
    asked = {
        **request("inspect", path, limits, limits.inspect_seconds),
        "name": file_name,
        "options": options.as_json(),
    }
    try:
        done = subprocess.run(  # noqa: S603 - our own program, no shell
            PROGRAM,
            env=ENVIRONMENT,
            input=json.dumps(asked).encode(),
            capture_output=True,
            timeout=2 * limits.inspect_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ImportFailed(
            f"The file could not be understood within {2 * limits.inspect_seconds} seconds."
        ) from error
    if done.returncode != 0:
        raise died(done.returncode, done.stderr, source, limits)
    answer = json.loads(done.stdout)
    if "failed" in answer:
        raise ImportFailed(answer["failed"])
    return Source.of_json(answer["source"])


def request(do: str, path: Path, limits: Limits, seconds: int) -> dict[str, Any]:
    return {
        "do": do,
        "path": str(path),
        "memory": limits.memory,
        "cpu": seconds,
        "maxInflated": limits.max_inflated,
    }


def died(code: int, said: bytes, source: Source, limits: Limits) -> ImportFailed:
    """Why a reading process ended: by a signal (out of memory, out of time), or a fault of ours."""
    text = said.decode(errors="replace").strip()
    _log.warning("a reading process ended with %d: %s", code, text[-_SAID:])
    how = f"signal {-code}" if code < 0 else f"status {code}"
    detail = (
        f"The file cannot be read: its reader ended with {how}. The file is damaged, or needs "
        "more memory or time than a reader may take."
    )
    return ImportFailed(f"{detail} {too_large(limits.memory)}" if _held(source) else detail)


def _held(source: Source) -> bool:
    return source.format in (Format.XLSX, Format.XLS)


def too_large(memory: int) -> str:
    """What to do about a workbook that its reader has no room for."""
    return (
        "A sheet is held in memory as a whole, about 115 bytes per cell, and a reader has "
        f"{memory >> 20} MB (HUBBLEWAVE_READER_MEMORY_BYTES): save the sheet as CSV, which is "
        "read in pieces."
    )
