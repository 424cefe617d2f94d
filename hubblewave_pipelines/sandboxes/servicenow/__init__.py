"""The ServiceNow sandbox: tables, encoded queries, ACLs, audits of deletes, batches, a sleeping instance."""

from hubblewave_pipelines.sandboxes.servicenow.instance import ServiceNow
from hubblewave_pipelines.sandboxes.vendor import Options


def build(options: Options) -> ServiceNow:
    return ServiceNow(options)
