"""BunBun under measurement: `bunbun serve` with generated secrets and a `bunbun.toml`."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import secrets
import subprocess
import time
import urllib.parse
from pathlib import Path

from .servers import Server, free_port, status_of

ROOT = Path(__file__).resolve().parents[2]
# What browsers of the keyed workload send, and the only origin that is allowed.
ORIGIN = "https://app.example.com"


def binary():
    """Where `make build` puts it."""
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "bunbun"


class Keys:
    """The credentials of one run. They are never printed."""

    def __init__(self):
        self.jwt_secret = secrets.token_urlsafe(48)
        self.database_encryption = base64.b64encode(secrets.token_bytes(32)).decode()
        self.anon = self._token("anon")
        self.service_role = self._token("service_role")

    def _token(self, role):
        now = int(time.time())
        parts = (
            {"alg": "HS256", "typ": "JWT"},
            {"role": role, "iss": "bunbun", "iat": now - 60, "exp": now + 86_400},
        )
        text = ".".join(_base64url(json.dumps(p, separators=(",", ":")).encode()) for p in parts)
        signature = hmac.new(self.jwt_secret.encode(), text.encode(), hashlib.sha256).digest()
        return f"{text}.{_base64url(signature)}"


def _base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def call(url, keys, method, path, body=None):
    """A request with the service_role key; its status and JSON."""
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    headers = {"authorization": f"Bearer {keys.service_role}", "content-type": "application/json"}
    connection.request(method, path, body=json.dumps(body) if body is not None else None, headers=headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def store(url, keys, kind, target):
    """Stores the connection that is measured, as the primary one of its kind."""
    body = {"identifier": "bench", "url": target, "is_primary": True}
    status, answer = call(url, keys, "POST", f"/api/platform/{kind}/default/connections", body)
    if status != 201:
        raise SystemExit(f"the connection was not stored: {status} {answer}")


def start(path, directory, postgres, keys, configuration, *, workers=2, pool_size=10, more=None):
    """Starts `bunbun serve`, with `more` in its environment; returns the server, its URL and the
    seconds to its first answer."""
    if not Path(path).is_file():
        raise SystemExit(f"{path} is not there: run make build (or name it with --bunbun)")
    directory.mkdir(exist_ok=True)
    file = directory / "bunbun.toml"
    file.write_text(configuration)
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "WORKERS": str(workers),
        "DATABASE_URL": postgres.url("bench"),
        "PLATFORM_DATABASE_URL": postgres.url("bunbun"),
        "DATABASE_POOL_SIZE": str(pool_size),
        "JWT_SECRET": keys.jwt_secret,
        "ANON_KEY": keys.anon,
        "SUPABASE_SERVICE_KEY": keys.service_role,
        "DATABASE_ENCRYPTION_KEY": keys.database_encryption,
        "DASHBOARD_USERNAME": "bench",
        "DASHBOARD_PASSWORD": secrets.token_urlsafe(24),
        "ALLOWED_ORIGINS": ORIGIN,
        "BACKUPS_URL": str(directory / "backups"),
        "LOG": "info",
        "LOG_FORMAT": "json",
        "ACCESS_LOG": "true",
        **(more or {}),
    }
    # The budget is for the start on an existing database.
    subprocess.run(
        [str(path), "migrate", "--config", str(file)],
        env=environment, cwd=directory, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )
    began = time.monotonic()
    command = [path, "serve", "--config", file]
    server = Server("bunbun", command, directory, environment=environment)
    url = f"http://127.0.0.1:{port}"
    server.wait_until(lambda: status_of(f"{url}/livez")[0] == 200)
    first_answer = time.monotonic() - began
    server.wait_until(lambda: status_of(f"{url}/readyz")[0] == 200)
    return server, url, first_answer
