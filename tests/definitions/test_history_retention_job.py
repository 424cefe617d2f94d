"""The daily job that removes old versions, run on a real Dagster instance."""

import pytest

from hubblewave_pipelines.definitions.history import history_retention
from hubblewave_pipelines.definitions.resources import Platform
from tests.definitions.conftest import Home


def test_without_a_setting_everything_is_kept(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for days, said in ((None, "Every version"), ("30", "Removed 0 versions")):
        if days is not None:
            monkeypatch.setenv("HUBBLEWAVE_HISTORY_DAYS", days)
        with home.instance() as instance:
            done = history_retention.execute_in_process(
                instance=instance, resources={"platform": Platform()}
            )
            told = [entry.user_message for entry in instance.all_logs(done.run_id)]
        assert done.success
        assert any(said in line for line in told)
