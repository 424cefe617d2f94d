"""The sensor that looks at watched directories and asks for the imports of what arrived."""

import dagster as dg

from hubblewave_pipelines.definitions.imports import import_adhoc
from hubblewave_pipelines.definitions.resources import Platform
from hubblewave_pipelines.transfer.watching import scan

INTERVAL_SECONDS = 10


@dg.sensor(
    name="watch",
    job=import_adhoc,
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for imports of files that arrived where a watch looks; `dispatch` runs them.",
)
def watch(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SkipReason:
    return dg.SkipReason(f"{scan(platform.database, platform.settings)} imports asked for.")
