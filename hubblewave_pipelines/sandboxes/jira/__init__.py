"""The Jira sandbox: Cloud and Data Center, their searches, limits, time zones and late indexes."""

from hubblewave_pipelines.sandboxes.jira.site import Jira
from hubblewave_pipelines.sandboxes.vendor import Options


def build(options: Options) -> Jira:
    return Jira(options)
