"""What disturbs measurements on this computer, for `pnag devices`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache

from profiler.devices.backend import DeviceStatus, Finding
from profiler.devices.host import monitor
from profiler.errors import DeviceUnavailableError
from profiler.measuring.protocol import HOST_LIMITS
from profiler.system.lock import HOST_CPU, device_lock

BUSY_PROCESS_PCT = 20.0
LISTED_PROCESSES = 5
OBSERVE_S = 0.5
SCATTERED_MB = 500.0  # more than compaction leaves; as much as many networks take


def host_status(spec: str, runtime: str) -> DeviceStatus:
    """Status of a runtime on this machine's own cores."""
    try:
        with device_lock(HOST_CPU):
            reason = ""
    except DeviceUnavailableError as error:
        reason = str(error)
    return DeviceStatus(spec, monitor.cpu_model(), runtime, not reason, reason, host_findings())


@cache
def host_findings() -> tuple[Finding, ...]:
    """What disturbs measurements on this machine now. Takes half a second of watching."""
    cores = monitor.allowed_cores()
    watch = monitor.HostMonitor(cores)
    watch.state()
    busy = _busy_processes()
    state, limits = watch.state(), HOST_LIMITS
    findings = [
        Finding(
            f"process {pid} ({name}) uses {share:.0f} % of a core",
            "stop it, or keep it off the measured core: taskset -pc OTHER_CORES " + str(pid),
        )
        for pid, name, share in busy
    ]
    if state.steal_pct is not None and state.steal_pct > limits.steal_pct:
        findings.append(
            Finding(
                f"the hypervisor takes {state.steal_pct:.0f} % of the cores (steal)",
                "use a machine with dedicated cores; CPU time is measured, but caches are shared",
            )
        )
    if state.cpu_pressure_pct is not None and state.cpu_pressure_pct > limits.pressure_pct:
        findings.append(
            Finding(
                f"tasks wait for a core {state.cpu_pressure_pct:.0f} % of the time",
                "stop other work; entries measured meanwhile carry the flag preempted",
            )
        )
    elif state.cpu_pressure_pct is None and (state.load_1min or 0.0) > len(cores):
        count = f"{len(cores)} core{'s' * (len(cores) > 1)}"
        findings.append(
            Finding(f"load is {state.load_1min:g} on {count}", "stop other work (top names it)")
        )
    scattered_mb = monitor.scattered_free_mb()
    if scattered_mb is not None and scattered_mb > SCATTERED_MB:
        findings.append(
            Finding(
                f"{scattered_mb:.0f} MB of free memory lie in pieces of less than 64 KiB, which "
                "what is loaded first gets and runs slower with",
                "echo 1 | sudo tee /proc/sys/vm/compact_memory",
            )
        )
    return (*findings, *_settings(cores))


def _settings(cores: Sequence[int]) -> list[Finding]:
    """What is set so that the clock will move."""
    findings = []
    governor = monitor.governor(cores[-1])
    if governor not in (None, "performance"):
        findings.append(
            Finding(
                f"frequency governor is {governor}", "sudo cpupower frequency-set -g performance"
            )
        )
    if monitor.turbo_enabled():
        findings.append(
            Finding(
                "turbo is on: the clock depends on temperature and on other cores",
                "echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo, or "
                "echo 0 | sudo tee /sys/devices/system/cpu/cpufreq/boost",
            )
        )
    if monitor.smt_active():
        findings.append(
            Finding(
                "hyperthreading is on: a busy sibling slows its core",
                "echo off | sudo tee /sys/devices/system/cpu/smt/control",
            )
        )
    if governor is None and monitor.is_virtual():
        findings.append(
            Finding(
                "a virtual machine: governor, clock and temperature cannot be read here, and "
                "neighbours share caches and memory",
                "canaries correct for it; set the governor on the host where that is yours",
            )
        )
    if len(cores) == 1:
        findings.append(
            Finding(
                "one core only: everything else on it preempts",
                "allow this process a second core (taskset), or keep other work off this one",
            )
        )
    if not hasattr(os, "sched_setaffinity"):
        findings.append(
            Finding(
                "threads cannot be pinned on this system",
                "expect samples from several cores; measure on Linux for steadier ones",
            )
        )
    return findings


def _busy_processes() -> list[tuple[int, str, float]]:
    """(pid, name, percent of a core) of other processes that compute, the busiest first."""
    import psutil

    watched = []
    for process in psutil.process_iter(["pid", "name"]):
        if process.info["pid"] in (os.getpid(), os.getppid()):
            continue
        try:
            process.cpu_percent()
        except psutil.Error:
            continue
        watched.append(process)
    psutil.cpu_percent(interval=OBSERVE_S)
    busy = []
    for process in watched:
        try:
            share = process.cpu_percent()
        except psutil.Error:
            continue
        if share > BUSY_PROCESS_PCT:
            busy.append((int(process.info["pid"]), str(process.info["name"]), share))
    return sorted(busy, key=lambda item: -item[2])[:LISTED_PROCESSES]
