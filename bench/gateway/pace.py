"""Requests at a constant rate over a few connections, each timed.

A closed loop (wrk) sends the next request when the last is answered, so it measures queues of its
own making. Here requests are due at fixed moments far below what the server can do. One that has
to wait for a free connection is timed from when it was due, so a stalled server cannot hide.
"""

import gc
import select
import socket
import statistics
import time


def percentiles(url, headers, rate, seconds, connections=16):
    """Microseconds from sending to the whole answer: p50, p99, p99.9."""
    host, _, rest = url.removeprefix("http://").partition("/")
    lines = [f"GET /{rest} HTTP/1.1", f"host: {host}", *(f"{k}: {v}" for k, v in headers.items())]
    request = "\r\n".join([*lines, "", ""]).encode()
    address, port = host.rsplit(":", 1)
    free = []
    for _ in range(connections):
        connection = socket.create_connection((address, int(port)), timeout=10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        free.append(connection)
    every = list(free)
    gc.disable()
    try:
        # The first answers warm connections and caches.
        _run(request, free, rate, 0.5)
        times = _run(request, free, rate, seconds)
    finally:
        gc.enable()
        for connection in every:
            connection.close()
    cuts = statistics.quantiles(times, n=1000, method="inclusive")
    return {
        "p50_us": cuts[499] / 1000, "p99_us": cuts[989] / 1000, "p999_us": cuts[998] / 1000,
        "requests": len(times),
    }


def _run(request, free, rate, seconds):
    """Nanoseconds of each request; gives all connections back to `free`."""
    now = time.perf_counter_ns
    interval = 1_000_000_000 // rate
    times, busy, waiting = [], {}, []
    total = max(100, round(rate * seconds))
    due, sent = now() + interval, 0
    while len(times) < total:
        moment = now()
        while sent < total and moment >= due:
            if free:
                connection = free.pop(0)
                # What this program was late itself is not the server's.
                busy[connection] = [now(), b""]
                connection.sendall(request)
            else:
                waiting.append(due)
            sent += 1
            due += interval
        patience = max(0.0, (due - now()) / 1e9) if sent < total else 10.0
        ready, _, _ = select.select(list(busy), [], [], patience)
        if not ready and sent == total and patience:
            raise SystemExit("an answer never came")
        for connection in ready:
            started, data = busy[connection]
            part = connection.recv(65536)
            if not part:
                raise SystemExit("the server closed a connection at a low rate")
            data += part
            if not _complete(data):
                busy[connection][1] = data
                continue
            times.append(now() - started)
            if waiting:
                busy[connection] = [waiting.pop(0), b""]
                connection.sendall(request)
            else:
                del busy[connection]
                free.append(connection)
    return times


def _complete(data):
    head, mark, body = data.partition(b"\r\n\r\n")
    if not mark:
        return False
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"no 200: {head[:80]!r}")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(body) >= int(value)
    return body.endswith(b"0\r\n\r\n")
