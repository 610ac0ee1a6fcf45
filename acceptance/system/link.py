"""A link to a service that can be cut: a TCP proxy in threads, which carries so many bytes to it and no more."""

import socket
import threading
from contextlib import suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Self
from urllib.parse import urlsplit

_BLOCK = 65536


class Link(ThreadingTCPServer):
    """Use as `with Link(base_url) as link`. `.url`: where it begins. `.left`: bytes until it is cut; None: never."""

    daemon_threads = True

    def __init__(self, base_url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        there = urlsplit(base_url)
        self.there = (there.hostname, there.port)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.left: int | None = None

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Connection(BaseRequestHandler):
    server: Link

    def handle(self) -> None:
        with socket.create_connection(self.server.there) as there, suppress(OSError):
            threading.Thread(target=_pass_on, args=(there, self.request), daemon=True).start()
            while self.server.left != 0:
                most = _BLOCK if self.server.left is None else min(_BLOCK, self.server.left)
                if not (block := self.request.recv(most)):
                    break
                there.sendall(block)
                if self.server.left is not None:
                    self.server.left -= len(block)
            there.shutdown(socket.SHUT_RDWR)  # which a close does not, while another thread reads


def _pass_on(there: socket.socket, here: socket.socket) -> None:
    with suppress(OSError):
        while block := there.recv(_BLOCK):
            here.sendall(block)
