"""A tenant of 1,000 entities: what the first GraphQL document after a change of definitions costs,
what its schema holds in memory, and what it costs to show the whole schema.

Prints a table and a JSON line; run it with `python tests/bench/bench_graphql_schema.py [--entities N]`.
"""

import argparse
import gc
import json
import statistics
import time
import tracemalloc
from uuid import uuid4

from graphql import get_introspection_query

from api.graphql.documents import Documents, Rules
from api.graphql.engine import planned
from api.graphql.introspection import introspected
from api.graphql.schema import schema_for
from hubblewave_pipelines.core.definition import parse_definition
from hubblewave_pipelines.core.entity import Catalog, Entity

TARGET_MS = 100.0
RULES = Rules(introspection=True, max_depth=10, max_cost=200_000)
KINDS = ["text", "integer", "decimal", "boolean", "date", "datetime", "email", "number", "text"]
DOCUMENT = """
query ($min: Decimal) { thing7s(filter: {f2_gte: $min, parent: {f0_contains: "x"}},
  sort: {field: "f0"}) { items { id f0 f1 f2 parent { f0 parent { f0 } } } pageInfo { endCursor } } }
"""
MUTATION = "mutation ($input: Thing7Input!) { createThing7(input: $input) { id f0 } }"


def catalog_of(number: int) -> Catalog:
    """Entities of ten fields, each with a reference to the one before it."""
    tenant, entities = uuid4(), list[Entity]()
    for index in range(number):
        relation = {"name": "parent", "type": "manyToOne", "targetEntity": f"Thing{index - 1}"}
        body = {
            "name": f"Thing{index}",
            "pluralName": f"Thing{index}s",
            "fields": [{"name": f"f{n}", "type": kind} for n, kind in enumerate(KINDS)],
            "relationships": [relation] if index else [],
        }
        known = Catalog(tenant, index, tuple(entities[-1:]))
        entities.append(parse_definition(body, tenant_schema="t_aaaaaaaa", catalog=known))
    return Catalog(tenant, number, tuple(entities))


def first(catalog: Catalog) -> tuple[float, float]:
    """Milliseconds of a query and of a mutation, each the first that a schema is asked."""
    started = time.perf_counter()
    documents = Documents(schema_for(catalog), RULES)
    planned(documents.operation(DOCUMENT, None), {"min": "1"}, b"secret")
    middle = time.perf_counter()
    Documents(schema_for(catalog), RULES).operation(MUTATION, None)
    return (middle - started) * 1000, (time.perf_counter() - middle) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=1000)
    number = parser.parse_args().entities
    catalog = catalog_of(number)
    first(catalog_of(10))  # what is imported and compiled once per process
    times = [first(catalog) for _ in range(9)]
    query, mutation = (statistics.median(column) for column in zip(*times, strict=True))
    gc.collect()
    tracemalloc.start()
    held = Documents(schema_for(catalog), RULES)
    planned(held.operation(DOCUMENT, None), {"min": "1"}, b"secret")
    held.operation(MUTATION, None)
    gc.collect()
    lazy = tracemalloc.get_traced_memory()[0] / 1e6
    tracemalloc.stop()
    started = time.perf_counter()
    asked = Documents(schema_for(catalog), RULES).operation(get_introspection_query(), None)
    plan = planned(asked, {}, b"secret")
    shown = introspected(asked.schema.graphql, asked.fragments, {}, plan.asked)
    whole = time.perf_counter() - started
    text = shown["__schema"]
    print(f"{'of ' + str(number) + ' entities':<44}{'':>10}")
    print(f"{'first query after a change, ms':<44}{query:>10.1f}")
    print(f"{'first mutation after a change, ms':<44}{mutation:>10.1f}")
    print(f"{'schema held after both, MB':<44}{lazy:>10.1f}")
    print(f"{'the whole schema shown, s (in a thread, kept)':<44}{whole:>10.1f}")
    print(f"{'its JSON, MB':<44}{len(text) / 1e6:>10.1f}")
    result = {
        "bench": "graphql_schema",
        "entities": number,
        "first_query_ms": round(query, 1),
        "first_mutation_ms": round(mutation, 1),
        "schema_mb": round(lazy, 1),
        "introspection_s": round(whole, 1),
        "introspection_mb": round(len(text) / 1e6, 1),
        "target_ms": TARGET_MS,
        "met": max(query, mutation) <= TARGET_MS,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
