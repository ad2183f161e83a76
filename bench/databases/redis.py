#!/usr/bin/env python3
"""A stored Redis connection: listing a million keys, and GET through HTTP against redis-benchmark.

The same redis-server, over loopback, in one run. The listing takes `GET …/keys` page by page over
one connection, as a client would: with type, expiry and encoding of each key, and names only. Redis'
own slow log, set to 2 ms, says whether any command of it held the server up, and its LATENCY
statistics how long SCAN took at most. GET is `GET …/keys/{key}` of small strings by wrk; beside it
redis-benchmark's GET without and with pipelining. Rounds are interleaved; each number is the median.
Prints Markdown; the numbers of every round go to bench/results as JSON.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from harness import bunbun, report  # noqa: E402
from harness.postgres import Postgres  # noqa: E402
from harness.servers import Server, free_port  # noqa: E402

# Keys a second.
BUDGETS = {"with details": 100_000, "names only": 400_000}
SLOW_US = 2_000
BASE = "/api/platform/redis/default"

# The limits are the gateway's own, but must not be reached: they are what is not measured here.
CONFIGURATION = """
[gateway.rate_limits.platform]
limit = 4000000000
window = "1m"
by = "key"
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bunbun", type=Path, default=bunbun.binary(), help="the binary (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10, help="of each measurement of GET (default: %(default)s)")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=64, help="of wrk and of redis-benchmark (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one short round: does the harness work?")
    chosen = parser.parse_args()
    chosen.bunbun = chosen.bunbun.resolve()
    if chosen.quick:
        chosen.rounds, chosen.seconds, chosen.keys = 1, 1, 20_000
    return chosen


class Redis:
    """A redis-server that keeps nothing on disk."""

    def __init__(self, directory):
        directory.mkdir()
        self.port = free_port()
        self.server = Server(
            "redis-server",
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
             "--slowlog-log-slower-than", str(SLOW_US), "--slowlog-max-len", "1000"],
            directory,
        )
        self.server.wait_until(lambda: self.call("PING") == "PONG")

    def call(self, *command):
        answer = subprocess.run(["redis-cli", "-p", str(self.port), *command], capture_output=True, text=True, check=False)
        return answer.stdout.strip()

    def fill(self, count):
        """`user:{n}` with a short value, through one pipelined connection."""
        with socket.create_connection(("127.0.0.1", self.port)) as stream:
            answers = stream.makefile("rb")
            for start in range(0, count, 1000):
                numbers = range(start, min(count, start + 1000))
                commands = b"".join(
                    b"*3\r\n$3\r\nSET\r\n$%d\r\nuser:%d\r\n$8\r\nvalue%03d\r\n" % (5 + len(str(n)), n, n % 1000)
                    for n in numbers
                )
                stream.sendall(commands)
                for _ in numbers:
                    if answers.readline() != b"+OK\r\n":
                        raise SystemExit("redis-server does not take keys")

    def slow_commands(self):
        """Name and microseconds of what took longer than the budget since the last reset."""
        text = self.call("--json", "SLOWLOG", "GET", "1000")
        return [[entry[3][0], entry[2]] for entry in json.loads(text or "[]")]


def listing(redis, url, keys, details, options):
    """Every page, one after the other; the bodies are read whole, but only the cursor is looked at."""
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
    headers = {"authorization": f"Bearer {keys.service_role}"}
    redis.call("SLOWLOG", "RESET")
    cursor, listed, pages = None, 0, 0
    started = time.monotonic()
    while True:
        path = f"{BASE}/keys?limit=1000&details={'true' if details else 'false'}"
        connection.request("GET", path + (f"&cursor={cursor}" if cursor else ""), headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {body[:500]!r}")
        listed += body.count(b'"key":')
        pages += 1
        found = re.search(rb'"next_cursor":"([^"]+)"', body)
        if not found:
            break
        cursor = found.group(1).decode()
    seconds = time.monotonic() - started
    if listed < options.keys:
        raise SystemExit(f"{listed} of {options.keys} keys were listed")
    slow = redis.slow_commands()
    return {"per_second": listed / seconds, "pages": pages, "slow": len(slow), "slowest_us": max((us for _, us in slow), default=0)}


def wrk(server, url, keys, options):
    script = Path(options.directory) / "get.lua"
    script.write_text(
        "local key = os.getenv('SERVICE_KEY')\n"
        "local head = { ['authorization'] = 'Bearer ' .. key }\n"
        f"function init() math.randomseed(os.time()) end\n"
        f"function request() return wrk.format('GET', '{BASE}/keys/user:' .. math.random(0, {options.keys - 1}), head) end\n"
        "function done(summary, latency)\n"
        "  local e = summary.errors\n"
        "  io.write(string.format('\\nJSON {\"requests\":%d,\"seconds\":%.6f,\"p99_us\":%d,\"faults\":%d}\\n', summary.requests,\n"
        "    summary.duration / 1e6, latency:percentile(99), e.status + e.connect + e.read + e.write + e.timeout))\n"
        "end\n"
    )
    output = subprocess.run(
        ["wrk", "-t1", f"-c{options.connections}", f"-d{options.seconds}s", "-s", str(script), url],
        check=True, capture_output=True, text=True, env={**os.environ, "SERVICE_KEY": keys.service_role},
    ).stdout
    numbers = json.loads(re.search(r"^JSON (.*)$", output, re.MULTILINE).group(1))
    if numbers["faults"] or not numbers["requests"]:
        raise SystemExit(f"GET: {numbers['faults']} faults:\n{output}")
    server.empty_logs()
    return {"per_second": numbers["requests"] / numbers["seconds"], "p99_us": numbers["p99_us"]}


def redis_benchmark(redis, pipeline, options):
    requests = 100_000 * options.seconds if pipeline > 1 else 30_000 * options.seconds
    output = subprocess.run(
        ["redis-benchmark", "-p", str(redis.port), "-c", str(options.connections), "-n", str(requests), "-P", str(pipeline),
         "-r", str(options.keys), "--csv", "GET", "user:__rand_int__"],
        check=True, capture_output=True, text=True,
    ).stdout
    row = output.strip().splitlines()[-1].split('","')
    return {"per_second": float(row[1]), "p99_us": float(row[6].strip('"')) * 1000}


def check_equal_work(url, keys):
    """The endpoints really answer what is measured."""
    status, answer = bunbun.call(url, keys, "GET", f"{BASE}/keys/user:7")
    if status != 200 or answer["value"] != "value007" or answer["type"] != "string":
        raise SystemExit(f"GET answered {status} {answer}")
    status, answer = bunbun.call(url, keys, "GET", f"{BASE}/keys?pattern=user:7")
    if status != 200 or answer["keys"][0].get("encoding") != "embstr":
        raise SystemExit(f"the listing answered {status} {answer}")


def main():
    options = arguments()
    keys = bunbun.Keys()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bunbun-bench.")))
        options.directory = directory
        os.chmod(directory, 0o711)  # PostgreSQL is another user
        postgres = Postgres(directory)
        stack.callback(postgres.stop)
        for name in ("bench", "bunbun"):
            postgres.call("createdb", name)
        redis = Redis(directory / "redis")
        stack.callback(redis.server.stop)
        redis.fill(options.keys)
        server, url, _ = bunbun.start(
            options.bunbun, directory / "bunbun", postgres, keys, CONFIGURATION,
            more={"EGRESS_ALLOW": "127.0.0.1"},
        )
        stack.callback(server.stop)
        bunbun.store(url, keys, "redis", f"redis://127.0.0.1:{redis.port}")
        check_equal_work(url, keys)
        work = {
            "keys with details": lambda: listing(redis, url, keys, True, options),
            "keys, names only": lambda: listing(redis, url, keys, False, options),
            "GET through HTTP": lambda: wrk(server, url, keys, options),
            "redis-benchmark GET": lambda: redis_benchmark(redis, 1, options),
            "redis-benchmark GET -P 16": lambda: redis_benchmark(redis, 16, options),
        }
        rounds = report.interleave(work, options.rounds)
        content = {
            "machine": report.machine(),
            "redis": report.first_line("redis-server", "--version"),
            "options": {k: str(v) for k, v in vars(options).items() if k != "directory"},
            "medians": {name: report.medians(of_name) for name, of_name in rounds.items()},
            "rounds": rounds,
        }
    print(render(content))
    print(f"\nAll numbers: {os.path.relpath(report.save('databases-redis', content))}", file=sys.stderr)


def render(content):
    medians, options = content["medians"], content["options"]
    budgets = {"keys with details": BUDGETS["with details"], "keys, names only": BUDGETS["names only"]}
    lists = [
        [name, f"{medians[name]['per_second']:.0f}", f"{budget}", f"{medians[name]['slow']:.0f}", f"{medians[name]['slowest_us']:.0f}"]
        for name, budget in budgets.items()
    ]
    plain = medians["redis-benchmark GET"]["per_second"]
    gets = [
        [name, f"{medians[name]['per_second']:.0f}", report.ratio(medians[name]["per_second"], plain), f"{medians[name]['p99_us']:.0f}"]
        for name in ("GET through HTTP", "redis-benchmark GET", "redis-benchmark GET -P 16")
    ]
    return "\n\n".join([
        f"{content['machine']}; {content['redis']}; {options['keys']} keys, {options['connections']} connections, "
        f"median of {options['rounds']}",
        report.table(["listing", "keys/s", "wanted", f"commands over {SLOW_US} µs", "slowest µs"], lists),
        report.table(["GET", "per second", "of redis-benchmark", "p99 µs"], gets),
    ])


if __name__ == "__main__":
    main()
