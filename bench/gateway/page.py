"""The results as Markdown."""

from harness.report import megabytes, microseconds, ratio, table

# What has no proxy in between.
DIRECT = "(no proxy)"

TITLES = {
    "plain": "Plain proxy, keep-alive",
    "keyed": "Proxy with key check, rate limit and CORS",
    "1m-down": "Bodies of 1 MiB, down",
    "1m-up": "Bodies of 1 MiB, up",
    "1g-down": "One body of 1 GiB, down",
    "1g-up": "One body of 1 GiB, up",
    "plain-latency": "Latency at a constant rate, plain",
    "keyed-latency": "Latency at a constant rate, key check, rate limit and CORS",
    "idle": "Idle connections",
}


def render(content):
    """The whole page."""
    options, medians = content["options"], content["medians"]
    parts = [
        f"Machine: {content['machine']}. The load generator, the upstream and the server share the cores.",
        "Versions: " + "; ".join(f"{name}: {text}" for name, text in content["versions"].items()) + ".",
        f"Median of {options['rounds']} interleaved rounds of {options['seconds']} s; "
        f"{options['connections']} connections; access log on, two workers or threads each. "
        "Caddy has no rate limit in its stock build.",
    ]
    for work, numbers in medians.items():
        if numbers:
            parts += [f"### {TITLES[work]}", SECTIONS[work](numbers, options)]
    budgets = budget_rows(content)
    if budgets:
        parts += ["### Budgets (DESIGN.md §12)", table(["what", "budget", "measured", ""], budgets)]
    return "\n\n".join(parts)


def _ratios(name, numbers, key):
    """How `name` compares with the two peers that the budgets name."""
    return [
        ratio(numbers[name][key], numbers.get(peer, {}).get(key)) if name != peer else "1"
        for peer in ("nginx", "haproxy")
    ]


def _throughput(numbers, _):
    head = ["server", "requests/s", "× nginx", "× haproxy", "p50", "p99", "CPU s / 100 k", "RSS"]
    return table(head, [
        [
            name, f"{n['rps']:.0f}", *_ratios(name, numbers, "rps"), microseconds(n["p50_us"]),
            microseconds(n["p99_us"]), f"{n['cpu_s_per_100k']:.2f}", megabytes(n["rss_bytes"]),
        ]
        for name, n in numbers.items()
    ])


def _bodies(numbers, _):
    head = ["server", "MiB/s", "× nginx", "× haproxy", "p50", "p99", "CPU s / 100 k", "peak RSS"]
    return table(head, [
        [
            name, f"{n['mib_per_s']:.0f}", *_ratios(name, numbers, "mib_per_s"), microseconds(n["p50_us"]),
            microseconds(n["p99_us"]), f"{n['cpu_s_per_100k']:.2f}", megabytes(n["peak_bytes"]),
        ]
        for name, n in numbers.items()
    ])


def _large(numbers, _):
    head = ["server", "MiB/s", "× nginx", "× haproxy", "CPU s", "RSS before", "peak RSS"]
    return table(head, [
        [
            name, f"{n['mib_per_s']:.0f}", *_ratios(name, numbers, "mib_per_s"), f"{n['cpu_s']:.2f}",
            megabytes(n["rss_before_bytes"]), megabytes(n["peak_bytes"]),
        ]
        for name, n in numbers.items()
    ])


def _latency(numbers, options):
    base = numbers.get(DIRECT)
    head = [f"server, {options['rate']} requests/s", "p50", "p99", "p99.9", "added p50", "added p99"]
    return table(head, [
        [
            name, *(microseconds(n[key]) for key in ("p50_us", "p99_us", "p999_us")),
            *(microseconds(n[key] - base[key]) if base and name != DIRECT else "–" for key in ("p50_us", "p99_us")),
        ]
        for name, n in numbers.items()
    ])


def _idle(numbers, _):
    head = ["server", "connections", "RSS before", "RSS with them", "per connection"]
    return table(head, [
        [
            name, f"{n['connections']:.0f}", megabytes(n["before_bytes"]), megabytes(n["rss_bytes"]),
            f"{(n['rss_bytes'] - n['before_bytes']) / n['connections'] / 1000:.1f} kB",
        ]
        for name, n in numbers.items()
    ])


SECTIONS = {
    "plain": _throughput,
    "keyed": _throughput,
    "plain-latency": _latency,
    "keyed-latency": _latency,
    "1m-down": _bodies,
    "1m-up": _bodies,
    "1g-down": _large,
    "1g-up": _large,
    "idle": _idle,
}


def budget_rows(content):
    """Each budget that this run can judge: what, budget, measured, verdict."""
    medians, rows = content["medians"], []

    def of(work, server, key):
        return medians.get(work, {}).get(server, {}).get(key)

    def judge(what, budget, value, shown, good):
        if value is not None:
            rows.append([what, budget, shown(value), "met" if good(value) else "MISSED"])

    def quotient(a, b):
        return a / b if a is not None and b else None

    def times(value):
        return f"{value:.2f}×"

    keyed = of("keyed", "bunbun", "rps")
    judge("keyed proxying against nginx's bare proxy_pass", "≥ 0.9×",
          quotient(keyed, of("plain", "nginx", "rps")), times, lambda v: v >= 0.9)
    judge("keyed proxying against Caddy doing the same, without the limit", "> 1×",
          quotient(keyed, of("keyed", "caddy", "rps")), times, lambda v: v > 1)
    judge("p99 of keyed proxying against haproxy's", "≤ 1×",
          quotient(of("keyed", "bunbun", "p99_us"), of("keyed", "haproxy", "p99_us")), times, lambda v: v <= 1)
    for key, most in (("p50_us", 100), ("p99_us", 1000)):
        base = of("keyed-latency", DIRECT, key)
        here = of("keyed-latency", "bunbun", key)
        added = here - base if here is not None and base is not None else None
        judge(f"added latency, {key.removesuffix('_us')}", f"≤ {microseconds(most)}", added,
              microseconds, lambda v, most=most: v <= most)
    judge("memory, idle", "≤ 30 MB", content["idle_bytes"].get("bunbun"), megabytes, lambda v: v <= 30e6)
    count = of("idle", "bunbun", "connections")
    judge(f"memory, {count or 0:.0f} open connections", "≤ 200 MB", of("idle", "bunbun", "rss_bytes"),
          megabytes, lambda v: v <= 200e6)
    for work in ("1g-down", "1g-up"):
        judge(f"{TITLES[work]}, against nginx", "≥ 0.9×",
              quotient(of(work, "bunbun", "mib_per_s"), of(work, "nginx", "mib_per_s")), times, lambda v: v >= 0.9)
        before, peak = of(work, "bunbun", "rss_before_bytes"), of(work, "bunbun", "peak_bytes")
        judge(f"{TITLES[work]}, memory added", "≤ 16 MB", peak - before if peak else None, megabytes, lambda v: v <= 16e6)
    judge("start to first answer, existing database", "≤ 300 ms",
          content["first_answer_seconds"].get("bunbun"), lambda v: f"{v * 1000:.0f} ms", lambda v: v <= 0.3)
    judge("release binary", "≤ 60 MB", content["binary_bytes"], megabytes, lambda v: v <= 60e6)
    return rows
