"""The ids of imported records: version 7 UUIDs that tell which row of the file made the record."""

import secrets
from uuid import UUID

import numpy as np
from numpy.typing import NDArray


def record_ids(row_numbers: NDArray[np.int64], *, unix_ms: int) -> NDArray[np.uint8]:
    """One UUID of 16 bytes per row, with the row number as RFC 9562's 32-bit counter.

    So ids ascend in file order even within one millisecond.
    """
    count = len(row_numbers)
    octets = np.frombuffer(secrets.token_bytes(count * 16), np.uint8).reshape(count, 16).copy()
    octets[:, 0:6] = np.frombuffer((unix_ms & 0xFFFF_FFFF_FFFF).to_bytes(6, "big"), np.uint8)
    octets[:, 6] = 0x70 | (row_numbers >> 28 & 0xF)
    octets[:, 7] = row_numbers >> 20 & 0xFF
    octets[:, 8] = 0x80 | (row_numbers >> 14 & 0x3F)
    octets[:, 9] = row_numbers >> 6 & 0xFF
    octets[:, 10] = (row_numbers & 0x3F) << 2 | octets[:, 10] & 0x3
    return octets


def row_of(record_id: UUID) -> int:
    """The row number in an id made by `record_ids`."""
    o = record_id.bytes
    return (o[6] & 0xF) << 28 | o[7] << 20 | (o[8] & 0x3F) << 14 | o[9] << 6 | o[10] >> 2
