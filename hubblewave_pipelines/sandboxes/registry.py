"""Which sandboxes there are. A vendor adds its module here, and nothing else of the shared part."""

from importlib import import_module

from hubblewave_pipelines.sandboxes.app import Sandbox
from hubblewave_pipelines.sandboxes.vendor import Options, Vendor

VENDORS: dict[str, str] = {
    "http": "hubblewave_pipelines.sandboxes.http",
    "jira": "hubblewave_pipelines.sandboxes.jira",
    "sap": "hubblewave_pipelines.sandboxes.sap",
    "servicenow": "hubblewave_pipelines.sandboxes.servicenow",
    "salesforce": "hubblewave_pipelines.sandboxes.salesforce",
}


def build(name: str, options: Options | None = None) -> Sandbox:
    """A sandbox that is not served yet. Raises KeyError naming those there are."""
    if name not in VENDORS:
        raise KeyError(f"There is no sandbox {name!r}; there are {', '.join(sorted(VENDORS))}.")
    vendor: Vendor = import_module(VENDORS[name]).build(options or Options())
    return Sandbox(vendor)
