"""The metrics of HTTP requests and credentials."""

from nexmdm.kernel.metrics import BUCKETS_S, Counter, Histogram

http_requests = Counter("nexmdm_http_requests", "HTTP requests answered.", ["route", "method", "status"])
http_duration = Histogram(
    "nexmdm_http_request_duration_seconds", "Time to answer.", ["route", "method"], buckets=BUCKETS_S
)
auth_failures = Counter("nexmdm_auth_failures", "Refused credentials.", ["code"])
