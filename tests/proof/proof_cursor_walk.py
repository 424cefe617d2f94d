"""Proof: a cursor walk meets every flight exactly once while flights are being updated."""

import json
import random
import threading
import time

import httpx

from tests.proof.flights_stack import FlightsStack, flights_stack

SORTS = ("", "-distance,carrier", "departureDelay", "-timeHour")


def walk(client: httpx.Client, sort: str) -> list[str]:
    """The ids of all pages in order."""
    parameters = {"pageSize": "1000", "fields": "id"} | ({"sort": sort} if sort else {})
    ids: list[str] = []
    while True:
        page = client.get("/api/v1/flights", params=parameters)
        page.raise_for_status()
        body = page.json()
        ids += [item["id"] for item in body["items"]]
        if not body["pageInfo"]["hasNextPage"]:
            return ids
        parameters["after"] = body["pageInfo"]["endCursor"]


class Updates(threading.Thread):
    """Patches fields of random flights that no walk sorts by, until told to stop."""

    def __init__(self, stack: FlightsStack, ids: list[str]) -> None:
        super().__init__()
        self.stack, self.ids = stack, ids
        self.enough = threading.Event()
        self.done = 0

    def run(self) -> None:
        rng = random.Random(7)
        url, headers = self.stack.platform.ready["api_url"], dict(self.stack.client.headers)
        with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
            while not self.enough.is_set():
                body = {"airTime": rng.randrange(1000)}
                path = f"/api/v1/flights/{rng.choice(self.ids)}"
                client.patch(path, json=body).raise_for_status()
                self.done += 1


def main() -> None:
    started = time.monotonic()
    with flights_stack() as stack:
        rows = stack.import_flights()["createdRecords"]
        ids = walk(stack.client, "")
        updates = Updates(stack, ids)
        updates.start()
        try:
            for sort in SORTS:
                begun, before = time.monotonic(), updates.done
                found = walk(stack.client, sort)
                print(
                    f"sort={sort or 'default':<20} {len(found):,} rows, {len(set(found)):,} distinct, "
                    f"{updates.done - before:,} updates meanwhile, {time.monotonic() - begun:.1f} s"
                )
                assert len(found) == rows, "a row was missed or met twice"
                assert set(found) == set(ids)
        finally:
            updates.enough.set()
            updates.join()
        print(
            json.dumps(
                {
                    "proof": "cursor_walk",
                    "rows": rows,
                    "walks": len(SORTS),
                    "updates": updates.done,
                    "missed_or_doubled": 0,
                    "seconds": round(time.monotonic() - started),
                }
            )
        )


if __name__ == "__main__":
    main()
