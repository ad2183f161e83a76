"""The client of files: as many transfers as go through a number of connections, at little cost of
its own. Downloads are dropped in the kernel (MSG_TRUNC), uploads come from a file by sendfile.

Usage: transfer.py {down|up} HOST:PORT PATH BYTES CONNECTIONS SECONDS [HEADER…]; SECONDS of 0 is one
transfer. In PATH of an upload, `#` stands for the connection's number. Prints JSON.
"""

import json
import socket
import sys
import tempfile
import threading
import time


def head_of(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            raise SystemExit(f"the connection ended in the head: {data[:200]!r}")
        data += part
    head, rest = data.split(b"\r\n\r\n", 1)
    status = int(head.split(b" ", 2)[1])
    headers = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
    return status, int(headers.get(b"content-length", b"0")), rest


def drop(connection, left, scratch):
    while left:
        part = connection.recv_into(scratch, min(left, len(scratch)), socket.MSG_TRUNC)
        if not part:
            raise SystemExit(f"the body ended {left} bytes early")
        left -= part


def download(connection, head, size, scratch, _):
    connection.sendall(head)
    status, length, rest = head_of(connection)
    if status != 200 or length != size:
        raise SystemExit(f"status {status}, {length} bytes instead of 200, {size}")
    drop(connection, length - len(rest), scratch)


def upload(connection, head, size, scratch, source):
    connection.sendall(head)
    sent = 0
    while sent < size:
        sent += connection.sendfile(source, sent, size - sent)
    status, length, rest = head_of(connection)
    if status not in (200, 201, 204):
        raise SystemExit(f"status {status}: {rest[:300]!r}")
    drop(connection, length - len(rest), scratch)


def main():
    direction, address, path, size, connections, seconds = sys.argv[1:7]
    size, connections, seconds = int(size), int(connections), float(seconds)
    extra = "".join(f"{header}\r\n" for header in sys.argv[7:])
    host, port = address.rsplit(":", 1)
    transfer = {"down": download, "up": upload}[direction]
    method = {"down": "GET", "up": "PUT"}[direction]
    length = f"content-length: {size}\r\ncontent-type: application/octet-stream\r\n" if direction == "up" else ""
    times, faults = [], []
    began = time.monotonic()
    end = began + seconds

    def work(number):
        head = f"{method} {path.replace('#', str(number))} HTTP/1.1\r\nhost: {address}\r\n{length}{extra}\r\n".encode()
        scratch = bytearray(1 << 20)
        try:
            with socket.create_connection((host, int(port)), timeout=600) as connection, tempfile.TemporaryFile() as source:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # Large ones are sparse: what the disk could read is not what is measured.
                source.truncate(size)
                if size <= 1 << 28:
                    source.write(b"\xa5" * size)
                    source.flush()
                while True:
                    start = time.monotonic()
                    transfer(connection, head, size, scratch, source)
                    times.append(time.monotonic() - start)
                    if time.monotonic() >= end:
                        return
        except (SystemExit, OSError) as fault:
            faults.append(str(fault))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise SystemExit(f"{method} {path}: {faults[0]}")
    took = time.monotonic() - began
    times.sort()
    print(json.dumps({
        "transfers": len(times), "seconds": took, "mib_per_s": len(times) * size / (1 << 20) / took,
        "per_s": len(times) / took, "p50_us": times[len(times) // 2] * 1e6, "p99_us": times[int(len(times) * 0.99)] * 1e6,
    }))


if __name__ == "__main__":
    main()
