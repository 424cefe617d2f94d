"""The SAP sandbox: OData V2 and V4 services over generated business data, as SAP Gateway answers."""

from hubblewave_pipelines.sandboxes.sap.vendor import Sap
from hubblewave_pipelines.sandboxes.vendor import Options


def build(options: Options) -> Sap:
    return Sap(options)
