"""A stand-in of Salesforce's REST API, Bulk API 2.0 and token endpoint, as connectors-salesforce.md has it."""

from hubblewave_pipelines.sandboxes.salesforce.stand_in import SalesforceSandbox
from hubblewave_pipelines.sandboxes.vendor import Options


def build(options: Options) -> SalesforceSandbox:
    return SalesforceSandbox(options)
