"""The same records written in every format that imports read, for tests."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq
import xlsxwriter
import xlwt

Rows = Sequence[Mapping[str, Any]]


def plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return str(value)


def csv(rows: Rows) -> bytes:
    def cell(value: Any) -> str:
        return "" if value is None else '"' + plain(value).replace('"', '""') + '"'

    lines = [",".join(rows[0]), *(",".join(map(cell, row.values())) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def _literal(value: Any) -> str:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, date):
        return json.dumps(plain(value))
    return json.dumps(value, ensure_ascii=False)


def _object(row: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{json.dumps(k)}: {_literal(v)}" for k, v in row.items()) + "}"


def ndjson(rows: Rows) -> bytes:
    return ("\n".join(map(_object, rows)) + "\n").encode()


def json_array(rows: Rows) -> bytes:
    return ("[" + ",\n ".join(map(_object, rows)) + "]\n").encode()


def xml(rows: Rows) -> bytes:
    def element(name: str, value: Any) -> str:
        return "" if value is None else f"<{name}>{escape(plain(value))}</{name}>"

    body = "".join(
        "<record>" + "".join(element(n, v) for n, v in row.items()) + "</record>\n" for row in rows
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<root>{body}</root>\n'.encode()


def xlsx(rows: Rows) -> bytes:
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"remove_timezone": True})
    sheet = book.add_worksheet("Data")
    day = book.add_format({"num_format": "yyyy-mm-dd"})
    moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
    sheet.write_row(0, 0, list(rows[0]))
    for at, row in enumerate(rows, 1):
        for column, value in enumerate(row.values()):
            if isinstance(value, datetime):
                sheet.write_datetime(at, column, value, moment)
            elif isinstance(value, date):
                sheet.write_datetime(at, column, datetime(value.year, value.month, value.day), day)  # noqa: DTZ001
            elif isinstance(value, Decimal):
                sheet.write_string(at, column, str(value))  # a number of Excel has 15 digits
            elif value is not None:
                sheet.write(at, column, value)
    book.close()
    return out.getvalue()


def xls(rows: Rows) -> bytes:
    book = xlwt.Workbook()
    sheet = book.add_sheet("Data")
    day = xlwt.easyxf(num_format_str="yyyy-mm-dd")
    moment = xlwt.easyxf(num_format_str="yyyy-mm-dd hh:mm:ss")
    for column, name in enumerate(rows[0]):
        sheet.write(0, column, name)
    for at, row in enumerate(rows, 1):
        for column, value in enumerate(row.values()):
            if isinstance(value, datetime):
                sheet.write(at, column, value.replace(tzinfo=None), moment)
            elif isinstance(value, date):
                sheet.write(at, column, value, day)
            elif value is not None:
                sheet.write(at, column, str(value) if isinstance(value, Decimal) else value)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def parquet(rows: Rows, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), out, **options)
    return out.getvalue()


FORMATS: Mapping[str, Callable[[Rows], bytes]] = {
    "csv": csv,
    "ndjson": ndjson,
    "json": json_array,
    "xml": xml,
    "xlsx": xlsx,
    "xls": xls,
    "parquet": parquet,
}


def zipped(content: bytes, name: str = "data") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return out.getvalue()


PACKED: Mapping[str, Callable[[bytes], bytes]] = {
    "plain": lambda content: content,
    "gz": gzip.compress,
    "zip": zipped,
}
