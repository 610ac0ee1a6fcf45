"""The metrics of background jobs."""

from nexmdm.kernel.metrics import Counter

job_failures = Counter("nexmdm_job_failures", "Background jobs that failed and were begun again.", ["job"])
