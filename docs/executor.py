"""An executor of tasks to begin with: it claims what is due, keeps its leases, and stops in order.

    NEXUS_URL=http://localhost:8080 NEXUS_API_KEY=nxk_... python docs/executor.py NAME

NAME is the executor that the tasks were submitted for. SIGTERM and Ctrl-C let it finish what it runs and claim no more.
It needs nothing but Python. A task may run twice: an executor that was cut off may have done the work already.
"""

import json
import os
import signal
import sys
import threading
import urllib.error
import urllib.request

LEASE_S, WAIT_S, PAUSE_S = 30, 5, 1


def run(task: dict, stop: threading.Event) -> dict:
    """Your work: the result, or an exception where there is none. Give up soon once `stop` is set."""
    if stop.wait(task["payload"].get("seconds", 0)):
        raise InterruptedError("stopped")
    if "error" in task["payload"]:
        raise RuntimeError(task["payload"]["error"])
    return {"echo": task["payload"]}


class Executor:
    """Claims for `name` until `stopping` is set."""

    def __init__(self, url: str, key: str, name: str) -> None:
        self.url, self.key, self.name = url.rstrip("/"), key, name
        self.stopping = threading.Event()

    def post(self, path: str, body: dict) -> dict:
        """The answer. HTTPError: a refusal; another OSError: there was none."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        url = f"{self.url}/api/v2/scheduler/{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
        with urllib.request.urlopen(request, timeout=WAIT_S + 30) as answer:
            return json.load(answer)

    def work(self) -> None:
        """Claim and run tasks, one after the other."""
        while not self.stopping.is_set():
            try:
                wanted = {"executor": self.name, "lease_s": LEASE_S, "wait_s": WAIT_S}
                tasks = self.post("claim", wanted)["tasks"]
            except OSError as error:
                if getattr(error, "code", 503) < 500:
                    raise  # asking again would not help
                self.stopping.wait(PAUSE_S)
                continue
            for task in tasks:
                self.attempt(task)

    def attempt(self, task: dict) -> None:
        """Run a task under its lease, and say how it ended."""
        stop, over = threading.Event(), threading.Event()
        keeper = threading.Thread(target=self.keep, args=(task, stop, over))
        keeper.start()
        try:
            end, body = "complete", {"result": run(task, stop)}
        except Exception as error:  # whatever it is, the scheduler decides what comes of it
            end, body = "fail", {"error": str(error)[:2000], "cancelled": stop.is_set()}
        self.tell(task, end, body, over)
        over.set()
        keeper.join()

    def keep(self, task: dict, stop: threading.Event, over: threading.Event) -> None:
        """Keep the lease; let the work stop when the task is cancelled, or the lease is lost."""
        while not over.wait(LEASE_S / 6):
            if not (told := self.tell(task, "heartbeat", {}, over)) or told["cancel_requested"]:
                stop.set()

    def tell(self, task: dict, action: str, body: dict, over: threading.Event) -> dict | None:
        """The answer, as soon as there is one; None: the lease is lost, and another one may have the task."""
        while True:
            try:
                return self.post(f"task/{task['id']}/{action}", {"lease_token": task["lease_token"], **body})
            except OSError as error:
                if getattr(error, "code", 503) < 500 or over.wait(PAUSE_S):
                    return None


if __name__ == "__main__":
    executor = Executor(os.environ["NEXUS_URL"], os.environ["NEXUS_API_KEY"], sys.argv[1])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: executor.stopping.set())
    executor.work()
