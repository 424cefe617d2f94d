"""Dead letters in Dagster: the check warns while there are any, the job sends them again."""

import dagster as dg
import pytest

from hubblewave_pipelines.definitions.resources import Platform
from hubblewave_pipelines.definitions.webhooks import (
    dead_letter_check,
    deliveries_spec,
    redrive_dead_letters,
)
from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.tenants import Tenant

LETTERS = """
with hook as (insert into hubblewave.webhooks (tenant_id, name, url, events)
  values (%s, 'n', 'https://example.com', '{*}') returning id, tenant_id)
insert into hubblewave.webhook_dead_letters (tenant_id, webhook_id, delivery_id, event_id,
  occurred_at, type, ordering_key, data, reason, attempts)
select tenant_id, id, gen_random_uuid(), gen_random_uuid(), now(), 'import.' || kind, 'k', '{}',
  'exhausted', 10 from hook, unnest(array['completed', 'failed', 'failed']) kind
"""


def test_the_check_warns_until_the_job_has_redriven_them(
    owner_database: Database,
    tenant: Tenant,
    other_tenant: Tenant,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HUBBLEWAVE_DATABASE_URL", database_url)
    with owner_database.transaction() as tx:
        tx.run(statement(LETTERS, (tenant.id,)))
    platform = {"platform": Platform()}

    def checked(slug: str) -> dg.AssetCheckEvaluation:
        done = dg.materialize(
            [dead_letter_check(slug), deliveries_spec(slug, "g")],
            resources=platform,
            selection=dg.AssetSelection.checks(dead_letter_check(slug)),
        )
        (found,) = done.get_asset_check_evaluations()
        return found

    def redriven(**config: object) -> None:
        asked = {"ops": {"redrive": {"config": {"tenant": tenant.slug, **config}}}}
        assert redrive_dead_letters.execute_in_process(run_config=asked, resources=platform).success

    found = checked(tenant.slug)
    assert (found.passed, found.metadata["open"].value) == (False, 3)
    assert found.severity is dg.AssetCheckSeverity.WARN
    assert checked(other_tenant.slug).passed
    redriven(dry_run=True)
    redriven(event="import.failed")
    assert checked(tenant.slug).metadata["open"].value == 1
    redriven()
    assert checked(tenant.slug).passed
    with owner_database.transaction() as tx:
        made = tx.all(
            statement("select type, kind, state from hubblewave.webhook_deliveries order by type")
        )
    assert (
        made == [("import.completed", "replay", "due")] + [("import.failed", "replay", "due")] * 2
    )
