"""A thousand runs in one worker; the worker and each command may open fewer files than that."""

import pytest

from tests.many_runs import check


@pytest.mark.timeout(1800)
def test_a_thousand_runs_in_a_worker_are_killed_stopped_and_resumed_to_the_same_documents(tmp_path, is_long):
    check(tmp_path, num_runs=1000 if is_long else 300, limit=256 if is_long else 64, num_tasks=12)
