"""A real adb server of our own, so that tests touch nobody else's."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path


class AdbServer:
    """A private adb server on its own port; nothing that others use is touched."""

    def __init__(self, home: Path) -> None:
        adb = shutil.which("adb")
        if adb is None:
            raise RuntimeError("adb is not installed: apt-get install -y adb")
        self._adb, self._home = adb, home
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])
        self.start()

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "HOME": str(self._home),
            "ANDROID_ADB_SERVER_PORT": str(self.port),
            "ADB_LOCAL_TRANSPORT_MAX_PORT": "5553",  # do not look for emulators
        }

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._adb, "-P", str(self.port), "nodaemon", "server"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(200):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            time.sleep(0.05)
        raise RuntimeError("the adb server did not start")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def adb(self, *arguments: str) -> str:
        """Output of the real client."""
        return subprocess.run(
            [self._adb, "-P", str(self.port), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        ).stdout
