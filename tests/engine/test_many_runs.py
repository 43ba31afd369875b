"""Many runs in one worker; tests/faults has the same test with a thousand runs."""

import pytest

from tests.many_runs import check


@pytest.mark.timeout(300)
@pytest.mark.long
def test_sixty_runs_in_a_worker_of_forty_files_are_killed_stopped_and_resumed_to_the_same_documents(tmp_path):
    check(tmp_path, num_runs=60, limit=40, num_tasks=20)
