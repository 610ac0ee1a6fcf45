"""The problem types of connections."""

from typing import Final

from nexmdm.kernel.problems import ProblemType

REQUEST_TIMEOUT: Final = ProblemType("request_timeout", 408, "The request took too long to arrive")
HEAD_TOO_LARGE: Final = ProblemType("head_too_large", 431, "Request header fields too large")
