"""Refreshes at a constant rate, each timed from when it was due: what someone with a session sees
while others do something else. Every connection has a session of its own."""

import gc
import re
import select
import socket
import statistics
import time

TOKEN = re.compile(rb'"refresh_token":"([^"]+)"')


def percentiles(url, key, tokens, rate, seconds):
    """Microseconds until the whole answer: p50, p99, p99.9. `tokens` are replaced by the next."""
    address, port = url.removeprefix("http://").rsplit(":", 1)
    head = (
        f"POST /auth/v1/token?grant_type=refresh_token HTTP/1.1\r\nhost: {address}:{port}\r\n"
        f"apikey: {key}\r\ncontent-type: application/json\r\ncontent-length: "
    ).encode()
    connections = []
    for number in range(len(tokens)):
        connection = socket.create_connection((address, int(port)), timeout=10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connections.append((connection, number))
    gc.disable()
    try:
        _run(head, connections, tokens, rate, 0.5)
        times = _run(head, connections, tokens, rate, seconds)
    finally:
        gc.enable()
        for connection, _ in connections:
            connection.close()
    cuts = statistics.quantiles(times, n=1000, method="inclusive")
    return {
        "p50_us": cuts[499] / 1000, "p99_us": cuts[989] / 1000, "p999_us": cuts[998] / 1000,
        "requests": len(times),
    }


def _run(head, connections, tokens, rate, seconds):
    now = time.perf_counter_ns
    interval = 1_000_000_000 // rate
    free, busy, waiting, times = list(connections), {}, [], []
    total = max(100, round(rate * seconds))
    due, sent = now() + interval, 0

    def send(connection, number, since):
        body = b'{"refresh_token":"' + tokens[number].encode() + b'"}'
        busy[connection] = [number, since, b""]
        connection.sendall(head + str(len(body)).encode() + b"\r\n\r\n" + body)

    while len(times) < total:
        while sent < total and now() >= due:
            if free:
                connection, number = free.pop(0)
                # What this program was late itself is not the server's.
                send(connection, number, now())
            else:
                waiting.append(due)
            sent += 1
            due += interval
        patience = max(0.0, (due - now()) / 1e9) if sent < total else 10.0
        ready, _, _ = select.select(list(busy), [], [], patience)
        if not ready and sent == total and patience:
            raise SystemExit("an answer never came")
        for connection in ready:
            entry = busy[connection]
            part = connection.recv(65536)
            if not part:
                raise SystemExit("the server closed a connection")
            entry[2] += part
            token = _answered(entry[2])
            if token is None:
                continue
            times.append(now() - entry[1])
            tokens[entry[0]] = token
            if waiting:
                send(connection, entry[0], waiting.pop(0))
            else:
                del busy[connection]
                free.append((connection, entry[0]))
    return times


def _answered(data):
    """The next token of a whole answer."""
    head, mark, body = data.partition(b"\r\n\r\n")
    if not mark:
        return None
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"no 200: {data[:300]!r}")
    length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
    if length and len(body) < int(length.group(1)):
        return None
    if not length and not body.endswith(b"0\r\n\r\n"):
        return None
    return TOKEN.search(body).group(1).decode()
