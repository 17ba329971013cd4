"""What the service has done, in Prometheus' text format (version 0.0.4)."""

from __future__ import annotations

from collections.abc import Mapping

from pnag.serve.work import WorkQueue


def metrics_text(answered: Mapping[tuple[str, int], int], queue: WorkQueue) -> str:
    """One family a fact: its help, its type, its samples."""
    requests = {
        f'{{path="{path}",status="{status}"}}': n for (path, status), n in sorted(answered.items())
    }
    families = {
        ("pnag_requests_total", "counter", "Requests answered"): requests,
        ("pnag_abandoned_total", "counter", "Requests given up by who asked"): queue.n_abandoned,
        ("pnag_draws_total", "counter", "Architectures drawn"): queue.drawn,
        ("pnag_generation_seconds_total", "counter", "Time spent drawing"): queue.spent_s,
        ("pnag_draws_waiting", "gauge", "Architectures asked for, not drawn yet"): queue.draws,
    }
    lines = []
    for (name, kind, what), value in families.items():
        lines += [f"# HELP {name} {what}", f"# TYPE {name} {kind}"]
        samples = value if isinstance(value, dict) else {"": value}
        lines += [f"{name}{labels} {number}" for labels, number in samples.items()]
    return "\n".join(lines) + "\n"
