"""Servers under measurement: started here, measured through /proc, ended by their own pid."""

import os
import resource
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def raise_open_files(wanted):
    """Raises the limit of open files for us and our children; returns what was reached."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for target in ((wanted, max(wanted, hard)), (min(wanted, hard), hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, target)
            return target[0]
        except (ValueError, PermissionError):
            continue
    return soft


class Server:
    """One server: a process and its descendants."""

    def __init__(self, name, command, directory, *, environment=None, user=None, log="server.log",
                 stdin=subprocess.DEVNULL):
        self.name = name
        self.directory = Path(directory)
        self.log = self.directory / log
        # Append mode, so that the log can be emptied between two rounds.
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                cwd=self.directory,
                env=environment,
                stdin=stdin,
                stdout=output,
                stderr=output,
                user=user,
                start_new_session=True,
            )

    def wait_until(self, answers, seconds=30):
        """Waits until `answers()` is true; fails with the log's end where it never is."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            if answers():
                return self
            time.sleep(0.01)
        end = self.log.read_text(errors="replace")[-3000:]
        raise SystemExit(f"{self.name} did not come up (status {self.process.poll()}):\n{end}")

    def stop(self):
        """Ends it, politely first."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def pids(self):
        """Its own pid and its descendants'."""
        parents = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                fields = _stat(entry)
                if fields:
                    parents.setdefault(int(fields[1]), []).append(int(entry))
        found, queue = [], [self.process.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            queue.extend(parents.get(pid, ()))
        return found

    def cpu_seconds(self):
        """User and system time of all its processes so far."""
        total = 0
        for pid in self.pids():
            fields = _stat(pid)
            if fields:
                total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def memory_bytes(self, field="VmRSS"):
        """`VmRSS` (now) or `VmHWM` (highest since `reset_peak`), added up over its processes.
        Pages that processes share count in each of them."""
        total = 0
        for pid in self.pids():
            try:
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith(field + ":"):
                        total += int(line.split()[1]) * 1024
            except (FileNotFoundError, ProcessLookupError):
                continue
        return total

    def reset_peak(self):
        """Makes `VmHWM` start anew from the present size (proc(5), clear_refs)."""
        for pid in self.pids():
            try:
                Path(f"/proc/{pid}/clear_refs").write_text("5")
            except (FileNotFoundError, PermissionError):
                continue

    def empty_logs(self):
        """A round's log can be hundreds of MB."""
        for path in self.directory.glob("*.log"):
            os.truncate(path, 0)


def _stat(pid):
    """The fields of /proc/PID/stat from the state on: the name before it may contain anything."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


def status_of(url, headers=None):
    """The status and body of a GET; (0, b"") where nobody answers."""
    try:
        request = urllib.request.Request(url, headers=headers or {})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""
