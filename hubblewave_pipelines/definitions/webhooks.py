"""Dead letters of webhooks in Dagster: a check that warns while there are any, a job that redrives."""

import dagster as dg

from hubblewave_pipelines.core.asset_keys import webhooks_key
from hubblewave_pipelines.definitions.resources import Platform
from hubblewave_pipelines.storage import dead_letters, tenants
from hubblewave_pipelines.storage.dead_letters import Chosen

CHECK = "dead_letters"
JOB = "dead_letter_checks"


def deliveries_spec(tenant_slug: str, group: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        key=webhooks_key(tenant_slug),
        description="Webhook deliveries; sent by `hubblewave worker`, not by runs.",
        group_name=group,
        kinds={"webhook"},
        tags={"hubblewave/tenant": tenant_slug},
    )


def dead_letter_check(tenant_slug: str) -> dg.AssetChecksDefinition:
    """Passes when the tenant has no open dead letter."""

    @dg.asset_check(
        name=CHECK,
        asset=dg.AssetKey(webhooks_key(tenant_slug)),
        description="No delivery was given up. List them: GET /api/v1/webhooks/dead-letters; send "
        "them again: the job redrive_dead_letters.",
    )
    def dead_letters_are_none(platform: Platform) -> dg.AssetCheckResult:
        with platform.database.transaction() as tx:
            found = tx.all(dead_letters.open_by_tenant())
        count, oldest = next(((n, at) for slug, n, at in found if slug == tenant_slug), (0, None))
        return dg.AssetCheckResult(
            passed=count == 0,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"open": count, "oldest": "none" if oldest is None else oldest.isoformat()},
        )

    return dead_letters_are_none


class RedriveConfig(dg.Config):
    """Which dead letters: those of a tenant, of one event type or reason when they are given."""

    tenant: str
    event: str = ""
    reason: str = ""
    dry_run: bool = False


@dg.op(description="Sends open dead letters again; each becomes a new delivery.")
def redrive(context: dg.OpExecutionContext, config: RedriveConfig, platform: Platform) -> None:
    with platform.database.transaction() as tx:
        tenant = tx.one(tenants.tenant_by_slug(config.tenant))
    if tenant is None:
        raise dg.Failure(f"There is no tenant {config.tenant}.", allow_retries=False)
    chosen = Chosen(type=config.event or None, reason=config.reason or None)
    total = 0
    while True:
        with platform.database.transaction(tenant.id) as tx:
            matching = tx.one(dead_letters.count_dead_letters(tenant.id, chosen)) or 0
            if config.dry_run:
                context.log.info("%d dead letters would be sent again", matching)
                return
            done = tx.one(dead_letters.redrive(tenant.id, chosen, None)) or 0
        total += done
        if done < dead_letters.MOST:
            break
    context.log.info("Sent %d dead letters again", total)


@dg.job(
    executor_def=dg.in_process_executor,
    description="Sends a tenant's dead letters again, as POST /api/v1/webhooks/dead-letters/redrive.",
)
def redrive_dead_letters() -> None:
    redrive()


def check_schedule(checks: list[dg.AssetChecksDefinition]) -> dg.ScheduleDefinition:
    """Looks for dead letters every hour."""
    job = dg.define_asset_job(JOB, selection=dg.AssetSelection.checks(*checks))
    return dg.ScheduleDefinition(
        name=f"{JOB}_hourly",
        job=job,
        cron_schedule="23 * * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
