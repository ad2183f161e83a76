"""The servers of the comparison, each set up as its documentation advises for this work.

All of them have two workers or threads, keep connections to the upstream alive, stream bodies and
write one JSON line per request with the same facts. `/plain/` is a bare proxy; `/keyed/` checks an
`apikey`, counts requests per key against a limit that is never reached and marks the answer for
one browser origin; `/sink/` leads to the upstream of uploads.
"""

import os
import sys
from pathlib import Path

from harness import bunbun
from harness.servers import Server, free_port, status_of

HERE = Path(__file__).resolve().parent
WORKERS = 2
# What a server opens beside its clients' connections.
SPARE_FILES = 2000
SMALL = '{"id":42,"name":"a row of a table","tags":["one","two","three"],"ok":true}'

_TEMPORARY = "".join(
    f"  {kind}_temp_path {{directory}}/{kind};\n"
    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)

_NGINX = """
daemon off;
worker_processes {workers};
worker_rlimit_nofile {files};
pid {directory}/nginx.pid;
error_log {directory}/error.log;
{user}
events {{ worker_connections {connections}; }}
http {{
  default_type application/octet-stream;
  types {{ }}
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  keepalive_timeout 75s;
  server_tokens off;
{temporary}
{body}
}}
"""

_ORIGIN = """
  access_log off;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /small {{ default_type application/json; return 200 '{small}'; }}
    # The same under the peers' paths, for measuring it without any of them.
    location = /plain/small {{ default_type application/json; return 200 '{small}'; }}
    location = /keyed/small {{ default_type application/json; return 200 '{small}'; }}
    location /file/ {{ alias {directory}/file/; }}
  }}
"""

# Buffered, as one sets it up for load: the default writes each line by itself.
_NGINX_PEER = """
  log_format facts escape=json '{{"time":"$time_iso8601","request_id":"$request_id",'
    '"client":"$remote_addr","method":"$request_method","uri":"$uri","status":$status,'
    '"bytes":$body_bytes_sent,"seconds":$request_time,"upstream":"$upstream_response_time",'
    '"agent":"$http_user_agent"}}';
  access_log {directory}/access.log facts buffer=64k flush=1s;
  client_max_body_size 0;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_set_header Host $host;
  proxy_set_header X-Request-Id $request_id;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_request_buffering off;
  proxy_max_temp_file_size 0;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 256; keepalive_requests 1000000000; }}
  upstream sink {{ server 127.0.0.1:{sink}; keepalive 256; keepalive_requests 1000000000; }}
  map_hash_bucket_size 512;
  map $http_apikey $key_role {{ default ""; "{anon}" "anon"; "{service_role}" "service_role"; }}
  map $http_origin $allowed_origin {{ default ""; "{allowed}" $http_origin; }}
  limit_req_zone $http_apikey zone=keys:10m rate=1000000r/s;
  limit_req_status 429;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location /plain/ {{ proxy_pass http://origin/; }}
    location /sink/ {{ proxy_pass http://sink/; }}
    location /keyed/ {{
      if ($key_role = "") {{ return 401; }}
      limit_req zone=keys burst=1000000 nodelay;
      # A location with a proxy_set_header of its own inherits none, keep-alive's among them.
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Request-Id $request_id;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Consumer-Username $key_role;
      add_header Access-Control-Allow-Origin $allowed_origin always;
      add_header Vary Origin always;
      proxy_pass http://origin/;
    }}
    location = /status {{ access_log off; stub_status; }}
  }}
"""

_HAPROXY = """
global
  nbthread {workers}
  # It counts two descriptors for each; idle ones need one.
  maxconn {connections}
  no strict-limits
  log stdout format raw local0
defaults
  mode http
  log global
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 75s
  timeout server 75s
  timeout http-keep-alive 75s
  unique-id-format %{{+X}}o%ci%cp%fi%fp%Ts%rt%pid
  log-format '{{"time":"%tr","request_id":"%ID","client":"%ci","method":"%HM","uri":"%HPO","status":%ST,"bytes":%B,"ms":%Ta,"upstream_ms":%Tr}}'
frontend edge
  bind 127.0.0.1:{port} backlog 4096
  unique-id-header X-Request-Id
  option forwardfor
  http-request set-header X-Forwarded-Proto http
  acl keyed path_beg /keyed/
  acl known_key req.hdr(apikey) -m str {anon} {service_role}
  acl allowed_origin req.hdr(origin) -m str {allowed}
  http-request set-var(txn.origin) req.hdr(origin) if keyed allowed_origin
  http-request deny deny_status 401 if keyed !known_key
  http-request track-sc0 req.hdr(apikey) table keys if keyed
  http-request deny deny_status 429 if keyed {{ sc_http_req_rate(0,keys) gt 100000000 }}
  http-response set-header Access-Control-Allow-Origin %[var(txn.origin)] if {{ var(txn.origin) -m found }}
  http-response add-header Vary Origin if {{ var(txn.origin) -m found }}
  use_backend sink if {{ path_beg /sink/ }}
  default_backend origin
backend keys
  stick-table type string len 512 size 100k expire 60s store http_req_rate(60s)
backend origin
  # Both prefixes have six bytes, and this is cheaper than a regular expression.
  http-request set-path %[path,bytes(6)]
  server origin 127.0.0.1:{origin} pool-max-conn 256
backend sink
  http-request set-path %[path,bytes(5)]
  server sink 127.0.0.1:{sink} pool-max-conn 256
"""

# Caddy's own limiter is a plug-in that Debian does not package: its `/keyed/` does less work.
# Metrics are on for the keyed listener alone, as they cost Caddy much.
_CADDY = """
{{
  admin off
  auto_https off
  log {{
    output file {directory}/caddy.log
  }}
  servers 127.0.0.1:{keyed_port} {{
    metrics
  }}
}}
http://127.0.0.1:{port} {{
  bind 127.0.0.1
  log {{
    output file {directory}/access.log {{
      roll_disabled
    }}
  }}
  handle_path /plain/* {{
    reverse_proxy 127.0.0.1:{origin} {{
      transport http {{
        keepalive_idle_conns_per_host 256
        compression off
      }}
    }}
  }}
  handle_path /sink/* {{
    reverse_proxy 127.0.0.1:{sink} {{
      transport http {{
        keepalive_idle_conns_per_host 256
      }}
    }}
  }}
}}
http://127.0.0.1:{keyed_port} {{
  bind 127.0.0.1
  log {{
    output file {directory}/keyed-access.log {{
      roll_disabled
    }}
  }}
  @unknown not header apikey {anon}
  @allowed header Origin {allowed}
  handle_path /keyed/* {{
    respond @unknown 401
    header @allowed Access-Control-Allow-Origin {allowed}
    header Vary Origin
    reverse_proxy 127.0.0.1:{origin} {{
      transport http {{
        keepalive_idle_conns_per_host 256
        compression off
      }}
    }}
  }}
}}
"""

_BUNBUN = """
[gateway.upstreams.origin]
urls = ["http://127.0.0.1:{origin}"]
max_connections = 256

[gateway.upstreams.sink]
urls = ["http://127.0.0.1:{sink}"]
max_connections = 256

[gateway.rate_limits.bench]
limit = 4000000000
window = "1m"
by = "key"

[[gateway.routes]]
name = "plain"
path = "/plain/"
upstream = "origin"
access = "open"
cors = "off"

[[gateway.routes]]
name = "keyed"
path = "/keyed/"
upstream = "origin"
access = "key"
cors = "allowed"
rate_limit = "bench"

[[gateway.routes]]
name = "sink"
path = "/sink/"
upstream = "sink"
access = "open"
cors = "off"
"""


class Peer:
    """A server and where its two kinds of work are."""

    def __init__(self, server, plain, keyed=None, first_answer=None):
        self.name = server.name
        self.server = server
        self.plain = plain
        self.keyed = keyed or plain
        self.first_answer = first_answer
        self.idle_bytes = server.memory_bytes()


def _nginx(name, directory, workers, files, body, **values):
    directory.mkdir()
    port = free_port()
    values = {**values, "directory": directory, "port": port}
    configuration = _NGINX.format(
        directory=directory, workers=workers, files=files, connections=files,
        user="user root;" if os.geteuid() == 0 else "",
        temporary=_TEMPORARY.format(directory=directory), body=body.format(**values),
    )
    file = directory / "nginx.conf"
    file.write_text(configuration)
    server = Server(name, ["nginx", "-p", directory, "-c", file, "-e", directory / "error.log"], directory)
    return server, f"http://127.0.0.1:{port}"


def start_origin(directory, files):
    """The upstream of all: one nginx worker with a constant answer and two static files."""
    server, url = _nginx("origin", directory, 1, files, _ORIGIN, small=SMALL)
    (directory / "file").mkdir()
    for name, size in (("1m", 1 << 20), ("1g", 1 << 30)):
        with open(directory / "file" / name, "wb") as file:
            file.truncate(size)
    server.wait_until(lambda: status_of(f"{url}/small")[0] == 200)
    return server, url


def start_sink(directory):
    """The upstream of uploads."""
    directory.mkdir()
    port = free_port()
    server = Server("sink", [sys.executable, HERE / "sink.py", port], directory)
    url = f"http://127.0.0.1:{port}"
    server.wait_until(lambda: status_of(f"{url}/")[0] == 200)
    return server, url


class Bench:
    """What the peers have in common: a directory, the upstreams' ports, keys, the file limit."""

    def __init__(self, directory, origin, sink, keys, files):
        self.directory = directory
        self.files = files
        self.keys = keys
        self.values = {
            "origin": origin.rsplit(":", 1)[1],
            "sink": sink.rsplit(":", 1)[1],
            "anon": keys.anon,
            "service_role": keys.service_role,
            "allowed": bunbun.ORIGIN,
        }

    def nginx(self):
        """Debian's nginx."""
        directory = self.directory / "nginx"
        server, url = _nginx("nginx", directory, WORKERS, self.files, _NGINX_PEER, **self.values)
        server.wait_until(lambda: status_of(f"{url}/plain/small")[0] == 200)
        return Peer(server, url)

    def haproxy(self):
        """Debian's haproxy; its log is its standard output."""
        directory, port = self.directory / "haproxy", free_port()
        directory.mkdir()
        file = directory / "haproxy.cfg"
        connections = self.files - SPARE_FILES
        file.write_text(
            _HAPROXY.format(port=port, workers=WORKERS, connections=connections, **self.values)
        )
        server = Server("haproxy", ["haproxy", "-db", "-f", file], directory, log="access.log")
        url = f"http://127.0.0.1:{port}"
        server.wait_until(lambda: status_of(f"{url}/plain/small")[0] == 200)
        return Peer(server, url)

    def caddy(self):
        """Debian's Caddy."""
        directory, port, keyed_port = self.directory / "caddy", free_port(), free_port()
        directory.mkdir()
        file = directory / "Caddyfile"
        file.write_text(
            _CADDY.format(port=port, keyed_port=keyed_port, directory=directory, **self.values)
        )
        environment = {
            **os.environ, "GOMAXPROCS": str(WORKERS),
            "XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory),
        }
        server = Server(
            "caddy", ["caddy", "run", "--config", file, "--adapter", "caddyfile"], directory,
            environment=environment,
        )
        url = f"http://127.0.0.1:{port}"
        server.wait_until(lambda: status_of(f"{url}/plain/small")[0] == 200)
        return Peer(server, url, f"http://127.0.0.1:{keyed_port}")

    def bunbun(self, path, postgres):
        """BunBun, in front of a PostgreSQL that has nothing to do here."""
        server, url, first_answer = bunbun.start(
            path, self.directory / "bunbun", postgres, self.keys,
            _BUNBUN.format(**self.values), workers=WORKERS,
        )
        server.wait_until(lambda: status_of(f"{url}/plain/small")[0] == 200)
        return Peer(server, url, first_answer=first_answer)
