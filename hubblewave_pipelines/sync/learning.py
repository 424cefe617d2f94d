"""What a page taught goes into what is known of the other system, copied and then set in one statement."""

from collections.abc import Sequence
from uuid import UUID

import pyarrow as pa

from hubblewave_pipelines.storage import sync_state
from hubblewave_pipelines.storage.database import Transaction
from hubblewave_pipelines.storage.sync_jobs import SyncJob
from hubblewave_pipelines.storage.sync_state import Learned
from hubblewave_pipelines.transfer.copy_rows import HEAD, TAIL, encode


def learn(tx: Transaction, job: SyncJob, run_id: UUID, learned: Sequence[Learned]) -> None:
    """At most one of each key. The caller holds the job, and has left out what is older."""
    if not learned:
        return
    records = [None if one.record_id is None else one.record_id.bytes for one in learned]
    # Copied, because thousands of values in arrays cost more to write out than to store.
    rows = encode(
        [
            pa.array([one.key for one in learned], pa.string()),
            pa.array(records, pa.binary(16)),
            pa.array([one.version for one in learned], pa.timestamp("us", "UTC")),
            pa.array([one.hash for one in learned], pa.binary(16)),
            pa.array([one.deleted for one in learned], pa.bool_()),
        ]
    )
    tx.run(sync_state.create_learning())
    with tx.connection.cursor().copy(sync_state.COPY_LEARNING) as copy:
        copy.write(HEAD)
        copy.write(rows)
        copy.write(TAIL)
    tx.run(sync_state.learn(job.tenant_id, job.id, run_id))
    tx.run(sync_state.drop_learning())
