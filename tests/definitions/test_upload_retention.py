"""The daily job that removes uploads, run on a real Dagster instance."""

import os
import uuid

from hubblewave_pipelines.definitions.resources import Platform
from hubblewave_pipelines.definitions.uploads import upload_retention
from tests.definitions.conftest import Home


def test_the_daily_job_clears_the_spool_of_its_settings(home: Home) -> None:
    platform = Platform()
    spool = platform.settings.spool
    spool.mkdir(parents=True)
    old, young = (spool / f"{uuid.uuid4().hex}.upload" for _ in range(2))
    old.write_text("a")
    young.write_text("a")
    os.utime(old, (0, 0))
    with home.instance() as instance:
        done = upload_retention.execute_in_process(
            instance=instance, resources={"platform": platform}
        )
        said = [entry.user_message for entry in instance.all_logs(done.run_id)]
    assert done.success
    assert list(spool.iterdir()) == [young]
    assert any("and 1 of no import: 1 bytes" in line for line in said)
