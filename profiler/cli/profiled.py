"""What came of `pnag profile`: in words, and whether all of it is stable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from profiler.errors import DemandError


def describe_tables(paths: Sequence[Path]) -> tuple[dict[str, object], str]:
    """The command's result as a JSON document and as text."""
    from collections import Counter

    from profiler.tables.levels import load_in_words
    from profiler.tables.table import load_table

    tables, lines = [], []
    for path in paths:
        table = load_table(path, partial=True)
        entries = [*table.ops.values(), *table.networks]
        verdicts = Counter(entry.verdict.value for entry in entries)
        floor = table.noise_floor
        tables.append(
            {
                "path": str(path),
                "ops": len(table.ops),
                "networks": len(table.networks),
                "failures": len(table.failures),
                "verdicts": dict(verdicts),
                "noise_floor_p95_pct": floor.p95_pct if floor else None,
                "publishable": floor.publishable if floor else None,
                "wall_s": table.protocol.get("wall_s"),
                "measuring_share": table.protocol.get("measuring_share"),
            }
        )
        counted = ", ".join(f"{n} {verdict}" for verdict, n in verdicts.most_common())
        lines.append(f"{path}: {len(table.ops)} ops, {len(table.networks)} networks ({counted})")
        if floor:
            publishable = "" if floor.publishable else " - not publishable"
            lines.append(
                f"  noise floor (A/A of {floor.n_repeats} hidden repeats): median "
                f"{floor.median_pct:.1f} %, p95 {floor.p95_pct:.1f} %{publishable}"
            )
        if table.load:
            lines.append(f"  {load_in_words(table.load)}")
        if table.failures:
            lines.append(f"  {len(table.failures)} failed, e.g. {next(iter(table.failures))}")
        lines += _advice(verdicts, failed=bool(table.failures))
    return {"tables": tables}, "\n".join(lines)


def _advice(verdicts: Mapping[str, int], *, failed: bool) -> list[str]:
    """What to do about verdicts other than stable; pnag table show says which ops have them."""
    lines = []
    if verdicts.get("unconverged") or failed:
        lines.append("  the same command again goes on with what is unconverged or failed")
    if verdicts.keys() - {"stable", "unconverged"}:
        lines.append(
            "  pnag devices says what disturbs the machine; --fresh measures all of it again"
        )
    return lines


def unstable_table(paths: Sequence[Path]) -> DemandError | None:
    """Of the first table with a number that is not stable, or without one."""
    from profiler.tables.table import load_table

    for path in paths:
        table = load_table(path, partial=True)
        verdicts = [entry.verdict.value for entry in (*table.ops.values(), *table.networks)]
        found = unstable(f"{path}: ", [*verdicts, *["failed"] * len(table.failures)])
        if found is not None:
            return found
    return None


def unstable(where: str, verdicts: Sequence[str]) -> DemandError | None:
    from collections import Counter

    counted = Counter(verdict for verdict in verdicts if verdict != "stable")
    if not counted:
        return None
    listed = ", ".join(f"{n} {verdict}" for verdict, n in counted.most_common())
    return DemandError(f"{where}{counted.total()} of {len(verdicts)} are not stable ({listed})")
