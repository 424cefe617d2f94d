"""A process that asks an external system with credentials that have just run out; prints what it was answered."""

import json
import sys
from uuid import UUID

from hubblewave_pipelines.core.bucket import Pace
from hubblewave_pipelines.core.egress import parse_allow
from hubblewave_pipelines.core.envelope import Envelope, read_key
from hubblewave_pipelines.outbound.client import HttpSession
from hubblewave_pipelines.outbound.manners import Manners
from hubblewave_pipelines.storage.connector_budget import DatabaseBudget
from hubblewave_pipelines.storage.connector_vault import DatabaseVault
from hubblewave_pipelines.storage.database import Database, Role


def main(url: str, tenant: str, connector: str, key: str, system: str) -> None:
    database = Database(url, Role.WORKER, size=2)
    ids = UUID(tenant), UUID(connector)
    session = HttpSession(
        system,
        DatabaseVault(database, Envelope(read_key(key)), *ids),
        DatabaseBudget(database, *ids, Pace(rate=1000, burst=100)),
        parse_allow("127.0.0.1/32:*"),
        manners=Manners(token_path="/token"),
    )
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    answers = [session.request("GET", f"/things/{n}").status for n in range(3)]
    sys.stdout.write(json.dumps({"answers": answers, "requests": session.requests}) + "\n")
    session.close()
    database.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
