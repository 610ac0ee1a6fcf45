"""The HTTP client of the cases: the harness's client, every answer of which is judged against openapi.yaml.

Does not know any credential but those that it is given, and keeps no answer beyond its case.
"""

import threading
from dataclasses import dataclass, field
from typing import Any

from acceptance.system.openapi import Contract
from harness.http.answers import outcomes
from harness.http.client import Answer, Client, HttpxTransport
from harness.settings import Target

KEPT = 500  # requests of a case, for its failure report: many are one waiting for something
UNMATCHED = "unmatched"  # the route of a path outside the contract


@dataclass(frozen=True)
class Judged:
    """One answer that the contract has accepted."""

    operation: str | None
    method: str
    route: str
    answer: Answer
    outcomes: list[str] = field(default_factory=list)  # as the coverage gate counts them


class Api(Client):
    """The HTTP client of the harness, every answer of which is judged against openapi.yaml."""

    transport: HttpxTransport

    def __init__(self, target: Target) -> None:
        super().__init__(HttpxTransport(target.base_url), target.admin_key, target.hmac_secret, keep=KEPT)
        self.contract = Contract.load()
        self.judged: list[Judged] = []
        self._lock = threading.Lock()

    def request(self, method: str, path: str, **request: Any) -> Answer:
        return self.take(method, path, super().request(method, path, **request))

    def begin(self) -> None:
        """A new case: what came before is not its business, nor its failure report's."""
        self.judged.clear()
        self._exchanges.clear()

    def reconnect(self) -> None:
        """Go on with new connections."""
        self.transport.close()
        self.transport = HttpxTransport(self.base_url)

    def take(self, method: str, path: str, answer: Answer) -> Answer:
        """Judge and remember an answer, also one that came without the client's help."""
        found = self.contract.judge(method, path, answer.status, answer.headers, answer.body)
        route = self.contract.route(path) or UNMATCHED
        seen = outcomes(found, answer.status, answer.body) if found else []
        with self._lock:
            self.judged.append(Judged(found.id if found else None, method, route, answer, seen))
        return answer

    def scrape(self) -> str:
        """The text of /metrics."""
        return self.admin("GET", "/metrics").body.decode()
