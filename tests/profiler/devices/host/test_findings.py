"""What disturbs measurements on this computer, as `pnag devices` names it."""

import os

from profiler.devices.host import findings, monitor


def test_what_disturbs_the_host_is_named(monkeypatch):
    monkeypatch.setattr(findings, "_busy_processes", lambda: [(42, "hog", 97.0)])
    monkeypatch.setattr(monitor, "governor", lambda core=0: "powersave")
    monkeypatch.setattr(monitor, "turbo_enabled", lambda: True)
    monkeypatch.setattr(monitor, "smt_active", lambda: True)
    monkeypatch.setattr(monitor, "scattered_free_mb", lambda: 1140.0)
    findings.host_findings.cache_clear()
    problems = [finding.problem for finding in findings.host_findings()]
    findings.host_findings.cache_clear()
    assert "process 42 (hog) uses 97 % of a core" in problems
    assert "frequency governor is powersave" in problems
    assert any("turbo" in problem for problem in problems)
    assert any("hyperthreading" in problem for problem in problems)
    assert any("1140 MB of free memory" in problem for problem in problems)


def test_a_single_core_a_load_and_a_system_without_affinity_are_named(monkeypatch):
    monkeypatch.setattr(findings, "_busy_processes", lambda: [])
    monkeypatch.setattr(monitor, "allowed_cores", lambda: (0,))
    monkeypatch.setattr(monitor, "cpu_pressure_pct", lambda: None)  # a kernel without PSI
    monkeypatch.setattr(os, "getloadavg", lambda: (7.5, 0.0, 0.0))
    monkeypatch.delattr(os, "sched_setaffinity")
    findings.host_findings.cache_clear()
    problems = [finding.problem for finding in findings.host_findings()]
    findings.host_findings.cache_clear()
    assert "one core only: everything else on it preempts" in problems
    assert "load is 7.5 on 1 core" in problems
    assert "threads cannot be pinned on this system" in problems
