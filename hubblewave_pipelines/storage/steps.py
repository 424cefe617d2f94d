"""A step of a change of definition: what it does, what it locks, what it means for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from hubblewave_pipelines.core.entity import Field, Json


class Lock(StrEnum):
    """The strongest lock a step takes on the table; named as PostgreSQL names it."""

    NONE = "none"
    ROW_EXCLUSIVE = "ROW EXCLUSIVE"  # reads and writes go on
    SHARE_UPDATE_EXCLUSIVE = "SHARE UPDATE EXCLUSIVE"  # reads and writes go on
    SHARE_ROW_EXCLUSIVE = "SHARE ROW EXCLUSIVE"  # reads go on
    ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"  # nothing goes on, for an instant


class Phase(StrEnum):
    EXPAND = "expand"  # one transaction: what the present definition does not notice
    BUILD = "build"  # each by itself, beside reads and writes: scans and indexes
    SETTLE = "settle"  # one transaction, with the definition: from here on everybody sees it


@dataclass(frozen=True, slots=True)
class Proof:
    """What a BUILD step finds out about the rows, so that a failure can be explained.

    `condition` holds for a row that is in order; `unique` means no value may occur twice;
    `values` means each value is checked against the field's rules that SQL does not know.
    """

    column: str
    field: str
    rule: str
    condition: str | None = None
    values: Field | None = None


@dataclass(frozen=True, slots=True)
class Backfill:
    """Values of a new column from those of another, for the rows that were there before.

    `proofs` explain, by the name of the constraint that refuses a row, what was wrong with it.
    """

    column: str
    source: str
    value: str  # over the row's own columns
    proofs: Mapping[str, Proof]


@dataclass(frozen=True, slots=True)
class Step:
    description: str
    phase: Phase
    sql: tuple[str, ...] = ()
    lock: Lock = Lock.NONE
    rewrite: bool = False  # whether every row is written anew, which is done bit by bit
    breaking: bool = False  # whether a client written against the old definition may fail
    destructive: bool = False  # whether stored values are lost or can no longer be reached
    index: str | None = None  # the index that this step builds concurrently
    proof: Proof | None = None
    backfill: Backfill | None = None

    @property
    def transactional(self) -> bool:
        return self.index is None and self.backfill is None

    def as_json(self) -> dict[str, Json]:
        return {
            "description": self.description,
            "phase": self.phase.value,
            "lock": self.lock.value,
            "rewrite": self.rewrite,
            "breaking": self.breaking,
            "destructive": self.destructive,
            "transactional": self.transactional,
        }
