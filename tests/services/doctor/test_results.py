"""A check that fails, hangs or raises becomes a result, and shows no secret."""

from __future__ import annotations

import time

from tokctl.errors import UsageError
from tokctl.services.doctor.results import CHECK_TIMEOUT_SECONDS, CheckResult, run_check

SECRET = "xvc_" + "S3cr3t" * 6


def test_no_check_ends_the_others():
    def wrong() -> CheckResult:
        raise KeyError(SECRET)

    def hanging() -> CheckResult:
        time.sleep(30)
        raise AssertionError

    def told() -> CheckResult:
        raise UsageError("that is wrong.", "Do this.")

    assert SECRET not in str(run_check("x", wrong))
    assert run_check("x", wrong).state == "problem"
    assert "0.1 s" in run_check("x", hanging, 0.1).found
    assert (run_check("x", told).found, run_check("x", told).advice) == ("that is wrong.", "Do this.")
    assert CHECK_TIMEOUT_SECONDS == 10
