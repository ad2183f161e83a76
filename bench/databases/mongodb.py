#!/usr/bin/env python3
"""Documents of a stored MongoDB connection through HTTP against the raw driver: the same pages of
the same collection on the same server, over loopback, in one run.

The raw driver is PyMongo with raw documents: bytes that nobody looks into. BunBun makes Extended
JSON of them and sends it to an HTTP client that only counts. The server is a FerretDB (no mongod is
to be had here), which is slower than MongoDB: the CPU time that BunBun itself needs for a million
documents carries over, the ratio says only that BunBun keeps up. Rounds are interleaved; each number
is the median. Prints Markdown; the numbers of every round go to bench/results as JSON.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
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

try:
    import pymongo
    from bson.raw_bson import RawBSONDocument
except ImportError:
    raise SystemExit("PyMongo is missing: run python3 -m pip install pymongo") from None

BUDGET = 0.85  # of the raw driver
PAGE = 1000
BASE = "/api/platform/mongodb/default"
DOCUMENTS = f"{BASE}/databases/bench/collections/documents/documents"

CONFIGURATION = """
[gateway.rate_limits.platform]
limit = 4000000000
window = "1m"
by = "key"
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bunbun", type=Path, default=bunbun.binary(), help="the binary (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--quick", action="store_true", help="one short round: does the harness work?")
    chosen = parser.parse_args()
    chosen.bunbun = chosen.bunbun.resolve()
    if chosen.quick:
        chosen.rounds, chosen.documents = 1, 2000
    return chosen


class FerretDB:
    """The FerretDB of the tests (tests/support/ferretdb), in memory."""

    def __init__(self, directory):
        root = HERE.parents[1]
        binary = root / "target" / "test-servers" / "ferretdb"
        # Quick where nothing changed: Go keeps what it built.
        subprocess.run(["go", "build", "-trimpath", "-o", binary, "."], cwd=root / "tests/support/ferretdb", check=True)
        directory.mkdir()
        self.url = f"mongodb://127.0.0.1:{free_port()}/"
        address = self.url.removeprefix("mongodb://").rstrip("/")
        # It ends when its standard input does.
        self.server = Server("ferretdb", [binary, "-listen", address], directory, stdin=subprocess.PIPE)
        self.server.wait_until(self.answers)

    def client(self, **options):
        return pymongo.MongoClient(self.url, directConnection=True, serverSelectionTimeoutMS=2000, **options)

    def answers(self):
        with contextlib.suppress(pymongo.errors.PyMongoError), contextlib.closing(self.client()) as client:
            return client.admin.command("ping")["ok"] == 1
        return False

    def fill(self, count):
        with contextlib.closing(self.client()) as client:
            for start in range(0, count, PAGE):
                client.bench.documents.insert_many(document(n) for n in range(start, min(start + PAGE, count)))


def document(n):
    return {"_id": n, "name": f"document {n}", "tags": ["a", "b"], "nested": {"x": n, "y": n / 3}, "at": n * 1000}


def through_http(server, url, keys, count):
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    headers = {"authorization": f"Bearer {keys.service_role}"}
    cpu, began = server.cpu_seconds(), time.monotonic()
    seen, cursor = 0, ""
    while True:
        connection.request("GET", f"{DOCUMENTS}?limit={PAGE}{cursor}", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"a page answered {answer.status} {body[:500]!r}")
        seen += body.count(b'"_id":')
        found = re.search(rb'"next_cursor":"([^"]+)"', body)
        if not found:
            break
        cursor = f"&cursor={found.group(1).decode()}"
    return numbers(seen, count, began, cpu=server.cpu_seconds() - cpu)


def raw_driver(mongodb, count):
    with contextlib.closing(mongodb.client(document_class=RawBSONDocument)) as client:
        collection = client.bench.documents
        collection.find_one()  # the connection is there, as BunBun's is
        began = time.monotonic()
        seen, last = 0, None
        while True:
            condition = {} if last is None else {"_id": {"$gt": last}}
            page = list(collection.find(condition, sort=[("_id", 1)], limit=PAGE))
            seen += len(page)
            if len(page) < PAGE:
                break
            last = page[-1]["_id"]
        return numbers(seen, count, began)


def numbers(seen, wanted, began, cpu=0.0):
    seconds = time.monotonic() - began
    if seen != wanted:
        raise SystemExit(f"{seen} of {wanted} documents were read")
    return {"per_second": seen / seconds, "cpu_s_per_million": cpu / seen * 1e6}


def check_equal_work(url, keys):
    status, answer = bunbun.call(url, keys, "GET", f"{DOCUMENTS}?limit=3")
    if status != 200 or answer["documents"] != [document(n) for n in range(3)]:
        raise SystemExit(f"the first page answered {status} {answer}")


def main():
    options = arguments()
    keys = bunbun.Keys()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bunbun-bench.")))
        os.chmod(directory, 0o711)  # PostgreSQL is another user
        postgres = Postgres(directory)
        stack.callback(postgres.stop)
        for name in ("bench", "bunbun"):
            postgres.call("createdb", name)
        mongodb = FerretDB(directory / "ferretdb")
        stack.callback(mongodb.server.stop)
        mongodb.fill(options.documents)
        server, url, _ = bunbun.start(
            options.bunbun, directory / "bunbun", postgres, keys, CONFIGURATION,
            more={"EGRESS_ALLOW": "127.0.0.1"},
        )
        stack.callback(server.stop)
        bunbun.store(url, keys, "mongodb", mongodb.url)
        check_equal_work(url, keys)
        work = {
            "PyMongo, raw": lambda: raw_driver(mongodb, options.documents),
            "BunBun over HTTP": lambda: through_http(server, url, keys, options.documents),
        }
        rounds = report.interleave(work, options.rounds)
        content = {
            "machine": report.machine(),
            "options": {k: str(v) for k, v in vars(options).items()},
            "medians": {name: report.medians(of_name) for name, of_name in rounds.items()},
            "rounds": rounds,
        }
    print(render(content))
    print(f"\nAll numbers: {os.path.relpath(report.save('databases-mongodb', content))}", file=sys.stderr)


def render(content):
    options, medians = content["options"], content["medians"]
    base = medians["PyMongo, raw"]["per_second"]
    rows = [
        [name, f"{n['per_second']:,.0f}", report.ratio(n["per_second"], base),
         f"{n['cpu_s_per_million']:.1f}" if n["cpu_s_per_million"] else "–"]
        for name, n in medians.items()
    ]
    ratio = medians["BunBun over HTTP"]["per_second"] / base
    return "\n\n".join([
        f"Machine: {content['machine']}; FerretDB 1.24 in memory, PyMongo {pymongo.version}. "
        "Client, FerretDB and BunBun share the cores.",
        f"{int(options['documents']):,} documents in pages of {PAGE}; median of {options['rounds']} interleaved rounds.",
        report.table(["all documents", "documents / s", "× driver", "BunBun's CPU s / 1 M"], rows),
        f"Budget (issue 4): ≥ {BUDGET:.2f} of the raw driver: {ratio:.2f}, {'met' if ratio >= BUDGET else 'MISSED'}.",
    ])


if __name__ == "__main__":
    main()
