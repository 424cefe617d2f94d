"""The reader of an uploaded file: CSV in this process, everything else in one of its own."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hubblewave_pipelines.core.errors import ImportFailed
from hubblewave_pipelines.core.import_options import ImportOptions
from hubblewave_pipelines.storage.imports import ImportJob
from hubblewave_pipelines.transfer.apart import Limits, inspect
from hubblewave_pipelines.transfer.apart_steps import ApartFile
from hubblewave_pipelines.transfer.csv import CsvFile
from hubblewave_pipelines.transfer.formats import Format, Source, stored_source
from hubblewave_pipelines.transfer.rows import Reader


def source_of(job: ImportJob, options: ImportOptions, limits: Limits) -> Source:
    """The file of an import as it was understood when it was accepted.

    Raises ImportFailed when it is gone, or cut short: that could pass for a shorter file.
    """
    path = Path(job.spool_path)
    if not path.exists():
        raise ImportFailed("The uploaded file is no longer there; upload it again.")
    if (size := path.stat().st_size) != job.file_size:
        raise ImportFailed(
            f"The uploaded file has {size} bytes by now and had {job.file_size}; upload it again."
        )
    return stored_source(job.detected) or inspect(path, job.file_name, options, limits)


def open_reader(
    path: Path,
    source: Source,
    limits: Limits,
    *,
    columns: Sequence[str],
    null_values: Sequence[str] = (),
    documents: Sequence[str] = (),
) -> Reader:
    """A reader of the wanted columns; nothing is read yet. Of a JSON file, the cells of `documents`
    are JSON as it stands there, texts in their quotes."""
    if source.format is not Format.CSV:
        return ApartFile(
            path, source, limits, columns=columns, null_values=null_values, documents=documents
        )
    return CsvFile(
        partial(source.content, path, max_inflated=limits.max_inflated),
        source.csv,
        columns=columns,
        null_values=null_values,
        encoding=source.encoding,
    )
