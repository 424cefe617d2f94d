"""The place of the entity graph in Dagster's component tree."""

import dagster as dg

from hubblewave_pipelines.definitions.entities import EntityGraph


@dg.component_instance
def entity_graph(context: dg.ComponentLoadContext) -> EntityGraph:
    return EntityGraph.load(None, context)
