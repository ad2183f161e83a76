"""Medians, Markdown tables, and the machine on which the numbers hold."""

import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "results"


def medians(rounds):
    """One dictionary out of one per round: each number is the median of its rounds."""
    return {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}


def interleave(work, rounds):
    """Does every work once, then each again, beginning with another one; the numbers of all rounds."""
    numbers, names = {name: [] for name in work}, list(work)
    for turn in range(rounds):
        for offset in range(len(names)):
            name = names[(turn + offset) % len(names)]
            print(f"round {turn + 1}/{rounds}: {name}", file=sys.stderr)
            numbers[name].append(work[name]())
    return numbers


def table(head, rows):
    """A Markdown table whose columns line up; the first is left-aligned, the others right."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells):
        first, *rest = zip(cells, widths)
        return "| " + " | ".join([first[0].ljust(first[1]), *(c.rjust(w) for c, w in rest)]) + " |"

    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def machine():
    """Processor, cores, memory, kernel and day."""
    model = "unknown processor"
    for row in Path("/proc/cpuinfo").read_text().splitlines():
        if row.startswith("model name"):
            model = row.split(":", 1)[1].strip()
            break
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{model}, {len(os.sched_getaffinity(0))} cores, {gigabytes:.0f} GiB, "
        f"Linux {platform.release()}, {datetime.date.today().isoformat()}"
    )


def first_line(*command):
    """The first line that a program prints of its version."""
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return (answer.stdout + answer.stderr).strip().splitlines()[0]


def save(name, content):
    """Keeps the full numbers as JSON; returns the path."""
    RESULTS.mkdir(exist_ok=True)
    moment = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    path = RESULTS / f"{name}-{moment}.json"
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


def ratio(value, base):
    """`0.93×`, or a dash where there is nothing to compare with."""
    return f"{value / base:.2f}×" if value is not None and base else "–"


def microseconds(value):
    """A duration that people read."""
    return f"{value:.0f} µs" if value < 1000 else f"{value / 1000:.2f} ms"


def megabytes(value):
    """Bytes as MB."""
    return f"{value / 1e6:.1f} MB"
