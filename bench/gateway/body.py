"""The client of large bodies: one transfer, at little cost of its own.

Usage: body.py {down|up} HOST:PORT PATH BYTES; prints JSON with the seconds it took. Downloads are
dropped in the kernel (MSG_TRUNC), uploads come from a sparse file through sendfile.
"""

import json
import socket
import sys
import tempfile
import time


def head_of(connection):
    """The status and headers of an answer, and what of the body came along."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            raise SystemExit(f"the connection ended in the head: {data[:200]!r}")
        data += part
    head, rest = data.split(b"\r\n\r\n", 1)
    status = int(head.split(b" ", 2)[1])
    headers = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
    return status, headers, rest


def expect(status, wanted):
    if status != wanted:
        raise SystemExit(f"status {status} instead of {wanted}")


def download(connection, request, size):
    connection.sendall(f"GET {request}\r\n\r\n".encode())
    status, headers, rest = head_of(connection)
    expect(status, 200)
    if int(headers.get(b"content-length", b"-1")) != size:
        raise SystemExit("the answer does not declare the body's length")
    left, scratch = size - len(rest), bytearray(1 << 20)
    while left:
        part = connection.recv_into(scratch, min(left, len(scratch)), socket.MSG_TRUNC)
        if not part:
            raise SystemExit(f"the body ended {left} bytes early")
        left -= part


def upload(connection, request, size):
    with tempfile.TemporaryFile() as source:
        source.truncate(size)
        connection.sendall(f"POST {request}\r\ncontent-length: {size}\r\n\r\n".encode())
        connection.sendfile(source, 0, size)
    status, _, _ = head_of(connection)
    expect(status, 200)


def main():
    direction, address, path, size = sys.argv[1:5]
    host, port = address.rsplit(":", 1)
    request = f"{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close"
    began = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        {"down": download, "up": upload}[direction](connection, request, int(size))
    print(json.dumps({"seconds": time.monotonic() - began}))


if __name__ == "__main__":
    main()
