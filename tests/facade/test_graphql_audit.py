"""graphql-http's audit of the GraphQL over HTTP specification, run by Node against a real server."""

import json
from collections.abc import Callable

from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.tenants import Tenant
from tests.facade.conftest import serving
from tests.plugins import node


def test_every_check_of_the_audit_is_passed(
    api_settings: Settings, tenant: Tenant, key_for: Callable[..., str]
) -> None:
    # It asks for __type to see that variables arrive.
    open_schema = api_settings.model_copy(update={"graphql_introspection": True})
    with serving(open_schema) as url:
        ran = node.run("graphql-audit.mjs", f"{url}/graphql", key_for(tenant))
    assert ran.returncode == 0, ran.stderr
    outcomes = json.loads(ran.stdout)
    failed = {o["name"]: (o["status"], o["reason"]) for o in outcomes if o["status"] != "ok"}
    assert failed == {}
    assert len(outcomes) == 61
