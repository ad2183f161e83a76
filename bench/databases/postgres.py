#!/usr/bin/env python3
"""Rows of a stored PostgreSQL connection as NDJSON against `psql`'s own `row_to_json`: the same
rows of the same table on the same PostgreSQL, over TCP, in one run.

psql asks the server for JSON and writes it out; BunBun gets rows and makes the JSON itself, and
sends it over HTTP to curl. Both throw the output away. Rounds are interleaved; each number is the
median. The peak of BunBun's memory is taken during the stream, for as many rows and for a tenth of
them: a stream with flat memory has the same peak. Prints Markdown; the numbers of every round go
to bench/results as JSON.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from harness import bunbun, report  # noqa: E402
from harness.postgres import Postgres  # noqa: E402

BUDGET = 300_000  # rows a second

CONFIGURATION = """
[gateway.rate_limits.api]
limit = 4000000000
window = "1m"
by = "key"
"""

TABLE = """
create table measured (id int primary key, name text not null, email text not null,
                       amount numeric(12, 2), done boolean not null, at timestamptz not null);
insert into measured select n, 'name ' || n, 'user' || n || '@example.com', n * 1.01, n % 2 = 0,
                            timestamptz '2026-01-01' + n * interval '1 second'
from generate_series(1, {rows}) n;
analyze measured;
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bunbun", type=Path, default=bunbun.binary(), help="the binary (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--quick", action="store_true", help="one short round: does the harness work?")
    chosen = parser.parse_args()
    chosen.bunbun = chosen.bunbun.resolve()
    if chosen.quick:
        chosen.rounds, chosen.rows = 1, 20_000
    return chosen


def psql(postgres, statement, rows):
    """FETCH_COUNT keeps psql from collecting all rows before it writes the first."""
    began = time.monotonic()
    postgres.call("psql", "-X", "-q", "-A", "-t", "-d", "bench", "-v", "FETCH_COUNT=10000",
                  "-o", os.devnull, "-c", statement)
    seconds = time.monotonic() - began
    return {"seconds": seconds, "rows_per_second": rows / seconds}


def curl(server, keys, method, url, body, rows):
    """Streams an answer into nothing."""
    command = ["curl", "-sS", "--fail", "-o", os.devnull, "-w", "%{size_download}", "-X", method,
               "-H", "accept: application/x-ndjson", "-H", "@-"]
    if body:
        command += ["-H", "content-type: application/json", "-d", json.dumps(body)]
    server.reset_peak()
    cpu, began = server.cpu_seconds(), time.monotonic()
    # The key by standard input: others see a command line.
    size = subprocess.run(
        [*command, url], input=f"authorization: Bearer {keys.service_role}\n",
        check=True, capture_output=True, text=True,
    ).stdout
    seconds = time.monotonic() - began
    return {
        "seconds": seconds,
        "rows_per_second": rows / seconds,
        "bytes": int(size),
        "cpu_s_per_million": (server.cpu_seconds() - cpu) / rows * 1e6,
        "peak_bytes": server.memory_bytes("VmHWM"),
    }


def check_equal_work(postgres, url, keys):
    """The stream really has the table's rows, whole."""
    body = {"sql": "select * from measured where id <= 3 order by id"}
    request = urllib.request.Request(
        f"{url}/api/platform/postgres/default/query", data=json.dumps(body).encode(),
        headers={"content-type": "application/json", "accept": "application/x-ndjson",
                 "authorization": f"Bearer {keys.service_role}"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        ours = [json.loads(line) for line in answer.read().splitlines()]
    theirs = postgres.call("psql", "-X", "-At", "-d", "bench", "-c",
                           "select row_to_json(m) from measured m where id <= 3 order by id")
    theirs = [json.loads(line) for line in theirs.splitlines()]
    same = [{k: row[k] for k in ("id", "name", "email", "done")} for row in ours]
    if same != [{k: row[k] for k in ("id", "name", "email", "done")} for row in theirs]:
        raise SystemExit(f"/query answered {ours}, psql {theirs}")


def workloads(postgres, server, url, keys, rows):
    base = f"{url}/api/platform/postgres/default"
    tenth = rows // 10
    return {
        "psql, row_to_json": lambda: psql(postgres, "select row_to_json(m) from measured m", rows),
        "psql, plain text": lambda: psql(postgres, "select * from measured", rows),
        "POST …/query": lambda: curl(
            server, keys, "POST", f"{base}/query", {"sql": "select * from measured", "read_only": True}, rows),
        "POST …/query, a tenth": lambda: curl(
            server, keys, "POST", f"{base}/query",
            {"sql": f"select * from measured limit {tenth}", "read_only": True}, tenth),
        "GET …/rows": lambda: curl(
            server, keys, "GET", f"{base}/tables/public/measured/rows", None, rows),
    }


def main():
    options = arguments()
    if not options.bunbun.is_file():
        raise SystemExit(f"{options.bunbun} is not there: run make build")
    keys = bunbun.Keys()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bunbun-bench.")))
        os.chmod(directory, 0o711)  # PostgreSQL is another user
        postgres = Postgres(directory)
        stack.callback(postgres.stop)
        postgres.call("createdb", "bench")
        postgres.call("createdb", "bunbun")
        postgres.call("psql", "-X", "-q", "-d", "bench", "-c", TABLE.format(rows=options.rows))
        server, url, _ = bunbun.start(
            options.bunbun, directory / "bunbun", postgres, keys, CONFIGURATION,
            more={"EGRESS_ALLOW": f"127.0.0.1:{postgres.port}"},
        )
        stack.callback(server.stop)
        bunbun.store(url, keys, "postgres", f"{postgres.url('bench')}?sslmode=disable")
        check_equal_work(postgres, url, keys)
        work = workloads(postgres, server, url, keys, options.rows)
        rounds = report.interleave(work, options.rounds)
        content = {
            "machine": report.machine(),
            "postgres": postgres.version(),
            "options": {k: str(v) for k, v in vars(options).items()},
            "medians": {name: report.medians(of_name) for name, of_name in rounds.items()},
            "rounds": rounds,
        }
    print(render(content))
    print(f"\nAll numbers: {os.path.relpath(report.save('databases-postgres', content))}", file=sys.stderr)


def render(content):
    options, medians = content["options"], content["medians"]
    base = medians["psql, row_to_json"]["rows_per_second"]
    rows = [
        [
            name, f"{n['rows_per_second']:,.0f}", report.ratio(n["rows_per_second"], base),
            f"{n['bytes'] / n['seconds'] / 1e6:.0f}" if "bytes" in n else "–",
            f"{n['cpu_s_per_million']:.2f}" if "cpu_s_per_million" in n else "–",
            report.megabytes(n["peak_bytes"]) if "peak_bytes" in n else "–",
        ]
        for name, n in medians.items()
    ]
    ours, tenth = medians["POST …/query"], medians["POST …/query, a tenth"]
    growth = ours["peak_bytes"] - tenth["peak_bytes"]
    rate = ours["rows_per_second"]
    return "\n\n".join([
        f"Machine: {content['machine']}; {content['postgres']}. Client, PostgreSQL and BunBun share the cores.",
        f"{int(options['rows']):,} rows of six columns; median of {options['rounds']} interleaved rounds.",
        report.table(["all rows", "rows / s", "× row_to_json", "MB / s", "CPU s / 1 M rows", "peak memory"], rows),
        f"Budget (issue 4): ≥ {BUDGET:,} rows/s: {rate:,.0f}, {'met' if rate >= BUDGET else 'MISSED'}. "
        f"Memory of all rows against a tenth of them: {growth / 1e6:+.1f} MB.",
    ])


if __name__ == "__main__":
    main()
