"""The container runtime of this machine, if it has one that works."""

import subprocess
from functools import cache


@cache
def container_runtime() -> str:
    """`docker` or `podman`, whichever answers.

    Raises:
        OSError: neither does.
    """
    why = []
    for name in ("docker", "podman"):
        try:
            done = subprocess.run(
                [name, "info"], check=False, capture_output=True, text=True, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            why.append(f"{name}: {error.__class__.__name__}")
            continue
        if not done.returncode:
            return name
        why.append(f"{name} info fails")
    raise OSError(", ".join(why))
