"""A link carries so many bytes to the service, which sees its end; then it carries none, and later all again."""

import socket

from acceptance.system.link import Link


def test_a_link_is_cut_to_the_byte() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as service,
        Link("http://{}:{}".format(*service.getsockname())) as link,
    ):
        for left, carried in ((10, b"0123456789"), (0, b""), (None, b"0123456789abcdef")):
            link.left = left
            with socket.create_connection(("127.0.0.1", link.server_address[1])) as client:
                client.settimeout(5)
                client.sendall(b"0123456789abcdef")
                if left is None:
                    client.shutdown(socket.SHUT_WR)
                there, _ = service.accept()
                with there:
                    there.settimeout(5)
                    received = b""
                    while block := there.recv(100):
                        received += block
                assert received == carried
