#!/usr/bin/env python3
"""Documents of MongoDB through HTTP, against the same pages read by PyMongo's raw batches, in one run.

    bench/databases/mongodb.py URL SERVICE_ROLE_KEY MONGODB_URI [--documents N] [--rounds N]

The server is whatever MONGODB_URI names (`bunbun dev` allows this machine); the connection is
stored under the identifier `bench`. Prints Markdown.
"""

import argparse
import json
import statistics
import time
import urllib.error
import urllib.request

from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

PAGE = 1000


def call(options, method, path, body=None):
    request = urllib.request.Request(
        f"{options.url}/api/platform/mongodb/default{path}", method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {options.key}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def fill(options):
    collection = MongoClient(options.mongodb, directConnection=True).bench.documents
    collection.drop()
    for start in range(0, options.documents, PAGE):
        rows = range(start, min(start + PAGE, options.documents))
        collection.insert_many({"_id": n, "name": f"document {n}", "tags": ["a", "b"], "nested": {"x": n, "y": n / 3}} for n in rows)


def through_http(options):
    seen, cursor = 0, ""
    while True:
        page = call(options, "GET", f"/databases/bench/collections/documents/documents?connection=bench&limit={PAGE}{cursor}")
        seen += len(page["documents"])
        if page["next_cursor"] is None:
            return seen
        cursor = f"&cursor={page['next_cursor']}"


def raw_driver(options):
    """The same pages, as bytes that nobody looks into."""
    client = MongoClient(options.mongodb, directConnection=True, document_class=RawBSONDocument)
    collection, seen, last = client.bench.documents, 0, None
    while True:
        filter_ = {} if last is None else {"_id": {"$gt": last}}
        page = list(collection.find(filter_).sort("_id", 1).limit(PAGE))
        if not page:
            return seen
        seen, last = seen + len(page), page[-1]["_id"]


def rate(work, options):
    began = time.perf_counter()
    seen = work(options)
    if seen != options.documents:
        raise SystemExit(f"{work.__name__} saw {seen} of {options.documents} documents")
    return seen / (time.perf_counter() - began)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("key")
    parser.add_argument("mongodb")
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    try:
        call(options, "POST", "/connections", {"identifier": "bench", "url": options.mongodb})
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise
    fill(options)
    rounds = {work: [] for work in (raw_driver, through_http)}
    for _ in range(options.rounds):
        for work, rates in rounds.items():
            rates.append(rate(work, options))
    raw, http = (statistics.median(rates) for rates in rounds.values())
    print("| way | documents/s | × driver |\n| --- | --- | --- |")
    print(f"| PyMongo, raw | {raw:.0f} | 1.00 |\n| BunBun over HTTP | {http:.0f} | {http / raw:.2f} |")


if __name__ == "__main__":
    main()
