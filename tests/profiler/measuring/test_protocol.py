from dataclasses import fields, is_dataclass, replace

import pytest

from profiler.measuring.protocol import FULL, PHONE, PHONE_QUICK, QUICK, SUSTAINED, TAIL


def variants(rule):
    """The rule with one of its numbers changed, for each of them, however deep."""
    for field in fields(rule):
        value = getattr(rule, field.name)
        if is_dataclass(value):
            for changed in variants(value):
                yield replace(rule, **{field.name: changed})
        elif isinstance(value, str):
            yield replace(rule, **{field.name: f"{value}, changed"})
        elif value is not None:  # a rule that only other protocols have
            yield replace(rule, **{field.name: value + 1})


TAILS = replace(FULL, name="tail", tail=TAIL)
LOAD = replace(PHONE, name="sustained", sustained=SUSTAINED)


@pytest.mark.parametrize(
    "protocol", [FULL, QUICK, PHONE, PHONE_QUICK, TAILS, LOAD], ids=lambda p: p.name
)
def test_every_number_of_a_protocol_changes_its_digest(protocol):
    digests = [changed.digest for changed in variants(protocol)]
    assert len({protocol.digest, *digests}) == 1 + len(digests)


def test_the_protocols_differ():
    assert len({p.digest for p in (FULL, QUICK, PHONE, PHONE_QUICK)}) == 4
