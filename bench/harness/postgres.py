"""A private PostgreSQL cluster on a loopback port, as an unprivileged user when we are root."""

import glob
import os
import pwd
import secrets
import shutil
import subprocess
from pathlib import Path

from .servers import Server, free_port


def binaries():
    """The directory of initdb and pgbench: the newest of Debian's, else what PATH has."""
    def version(path):
        return [int(n) if n.isdigit() else 0 for n in path.split("/")[4].split(".")]

    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=version)
    initdb = found[-1] if found else shutil.which("initdb")
    if not initdb:
        raise SystemExit("PostgreSQL's server binaries are not there: run .ci/need bench")
    return Path(initdb).resolve().parent


class Postgres:
    """The cluster: superuser `bench` with a random password."""

    def __init__(self, directory, connections=200):
        self.bin = binaries()
        self.directory = Path(directory) / "postgres"
        self.directory.mkdir()
        self.port = free_port()
        self.password = secrets.token_hex(16)
        self.user = None
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            for name in ("postgres", "nobody"):
                try:
                    self.user = pwd.getpwnam(name).pw_name
                    break
                except KeyError:
                    continue
            shutil.chown(self.directory, self.user)
        password_file = self.directory / "password"
        password_file.write_text(self.password)
        if self.user:
            shutil.chown(password_file, self.user)
        data = self.directory / "data"
        self._call(
            "initdb", "-D", data, "-U", "bench", "--pwfile", password_file,
            "-A", "scram-sha-256", "-E", "UTF8", "--locale", "C", "--no-sync",
        )
        self.server = Server(
            "postgres",
            [self.bin / "postgres", "-D", data, "-p", str(self.port), "-k", self.directory,
             "-c", "listen_addresses=127.0.0.1", "-c", f"max_connections={connections}",
             "-c", "shared_buffers=256MB", "-c", "fsync=off"],
            self.directory,
            user=self.user,
        )
        self.server.wait_until(self._ready)

    def _call(self, program, *arguments, **more):
        return subprocess.run(
            [str(self.bin / program), *map(str, arguments)],
            check=True, capture_output=True, text=True, user=self.user, cwd=self.directory, **more,
        ).stdout

    def _ready(self):
        return subprocess.run(
            [self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)],
        ).returncode == 0

    def call(self, program, *arguments):
        """Runs one of PostgreSQL's programs against the cluster, over TCP."""
        environment = {
            **os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(self.port),
            "PGUSER": "bench", "PGPASSWORD": self.password,
        }
        return self._call(program, *arguments, env=environment)

    def url(self, database):
        """A connection URL."""
        return f"postgres://bench:{self.password}@127.0.0.1:{self.port}/{database}"

    def version(self):
        """`PostgreSQL 15.18`."""
        return "PostgreSQL " + self._call("postgres", "--version").split()[2]

    def stop(self):
        """Ends it."""
        self.server.stop()
