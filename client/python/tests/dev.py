"""A fleet of simulated hosts for a test, by `banger dev`: real programs, whose server can be killed.

Looks for `banger` in the directory that BANGER_PROGRAMS names.
"""

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Dev:
    def __init__(self, hosts: int) -> None:
        self._dir = tempfile.TemporaryDirectory()
        self._banger = Path(os.environ["BANGER_PROGRAMS"]) / "banger"
        self.env = {"HOME": self._dir.name, "PATH": os.environ["PATH"]}
        first = ("--hosts", str(hosts), "--listen", "127.0.0.1:0")
        self._dev("up", "--simulate", "--detach", *first)
        self.env["BANGER_SERVER"] = self.server

    def _dev(self, *arguments: str) -> str:
        command = [str(self._banger), "dev", *arguments, "--state-dir", f"{self._dir.name}/dev"]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise RuntimeError(f"{arguments}: {done.stdout}{done.stderr}")
        said: str = done.stdout
        return said

    def _status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self._dev("status", "-o", "json"))
        return status

    @property
    def server(self) -> str:
        return str(self._status()["server"])

    def kill_server(self) -> None:
        """SIGKILL, and not there until `start_server`."""
        [pid] = [p["pid"] for p in self._status()["processes"] if p["name"] == "server"]
        process = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(process, signal.SIGKILL)
            # Readable once it has ended; until then it may still hold its port.
            ended, _, _ = select.select([process], [], [], 30)
        finally:
            os.close(process)
        if not ended:
            raise RuntimeError(f"the server, pid {pid}, does not end")

    def start_server(self) -> None:
        self._dev("up", "--simulate", "--detach")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._dev("down", "--yes", "--force")
        self._dir.cleanup()


def until(what: str, limit: float, seen: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    """Looks until it is as wanted; says what was seen last when it is not in time."""
    end = time.monotonic() + limit
    while True:
        last = seen()
        if wanted(last):
            return last
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {limit} s; last: {last}")
        time.sleep(0.05)
