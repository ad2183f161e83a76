"""The loads: each is one measurement of one server and returns its numbers."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pace

HERE = Path(__file__).resolve().parent


def header_of(url, headers, name):
    """One header of the answer to a GET."""
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
        return answer.headers.get(name)


def _wrk(url, seconds, connections, headers=None, body_bytes=0):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s", "-s", HERE / "wrk.lua"]
    for name, value in (headers or {}).items():
        command += ["-H", f"{name}: {value}"]
    output = subprocess.run(
        [*map(str, command), url], check=True, capture_output=True, text=True,
        env={**os.environ, "BODY_BYTES": str(body_bytes)},
    ).stdout
    found = re.search(r"^JSON (.*)$", output, re.MULTILINE)
    numbers = json.loads(found.group(1))
    if numbers["refused"] or numbers["broken"] or not numbers["requests"]:
        raise SystemExit(f"{url}: {numbers['refused']} refused, {numbers['broken']} broken:\n{output}")
    return numbers


def _loaded(server, seconds, run):
    """Runs a load after a short warm-up; adds the server's own cost to its numbers."""
    run(min(1, seconds))
    server.reset_peak()
    before = server.cpu_seconds()
    numbers = run(seconds)
    cpu = server.cpu_seconds() - before
    return {
        **numbers,
        "rps": numbers["requests"] / numbers["seconds"],
        "cpu_s_per_100k": cpu / numbers["requests"] * 100_000,
        "rss_bytes": server.memory_bytes(),
        "peak_bytes": server.memory_bytes("VmHWM"),
    }


def throughput(server, url, options, headers=None):
    """As many small requests as go through a number of connections."""
    return _loaded(server, options.seconds, lambda s: _wrk(url, s, options.connections, headers))


def bodies(server, url, options, *, download):
    """As many bodies of 1 MiB as go through a few connections."""
    size = 1 << 20
    numbers = _loaded(
        server, max(1, options.seconds / 2),
        lambda s: _wrk(url, s, options.connections_1m, body_bytes=0 if download else size),
    )
    return {**numbers, "mib_per_s": numbers["rps"]}


def latency(url, options, headers=None):
    """Latencies at a constant rate far below the limit, so that no queue is measured."""
    return pace.percentiles(url, headers or {}, options.rate, max(1, options.seconds / 2))


def large_body(server, url, direction, path, size):
    """One body of 1 GiB, and how much memory it took on its way through."""
    address = url.removeprefix("http://")
    server.reset_peak()
    rss = server.memory_bytes()
    before = server.cpu_seconds()
    done = subprocess.run(
        [sys.executable, HERE / "body.py", direction, address, path, str(size)],
        capture_output=True, text=True, check=False,
    )
    if done.returncode:
        raise SystemExit(f"{server.name}, {direction} {path}: {done.stderr}")
    seconds = json.loads(done.stdout)["seconds"]
    return {
        "mib_per_s": size / (1 << 20) / seconds,
        "cpu_s": server.cpu_seconds() - before,
        "rss_before_bytes": rss,
        "peak_bytes": server.memory_bytes("VmHWM"),
    }


def idle_connections(server, url, path, count):
    """Memory with many connections open that have each had one answer."""
    host, port = url.removeprefix("http://").rsplit(":", 1)
    before = server.memory_bytes()
    request = f"GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\n\r\n".encode()
    connections = []
    try:
        for _ in range(count):
            connection = socket.create_connection((host, int(port)), timeout=30)
            connections.append(connection)
            _answer(connection, request)
        time.sleep(1)  # what a server frees lazily is not its cost
        rss = server.memory_bytes()
        # Those that it has closed in the meantime do not count.
        open_now = 0
        for connection in connections:
            try:
                _answer(connection, request)
                open_now += 1
            except OSError:
                pass
    finally:
        for connection in connections:
            connection.close()
    if open_now < count:
        raise SystemExit(f"{server.name}: only {open_now} of {count} connections stayed open")
    return {"connections": open_now, "before_bytes": before, "rss_bytes": rss}


def _answer(connection, request):
    connection.sendall(request)
    data = connection.recv(65536)
    if not data.startswith(b"HTTP/1.1 200"):
        raise OSError(f"no 200: {data[:60]!r}")
    # Small answers come whole or in two parts; the second must not be taken for the next answer.
    while data.count(b"{") == 0:
        more = connection.recv(65536)
        if not more:
            raise OSError("the answer ended early")
        data += more
