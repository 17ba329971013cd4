"""`pnag serve`: the same answers as `generate --json`, and nothing that breaks it."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import schemathesis
from schemathesis import engine
from schemathesis.engine import events
from starlette.testclient import TestClient

from pnag.cli.app import run as run_command
from pnag.learning.settings import TrainSettings
from pnag.runs.inputs import tabular_inputs
from pnag.runs.run import train_run
from pnag.search.problem import Problem
from pnag.serve import MAX_BODY_BYTES, MAX_BUDGETS, MAX_SAMPLES, create_app, listen
from profiler.errors import InvalidInputError
from profiler.spaces.base import TokenPosition
from tests.pnag.landscapes import mobilenet_problem, tabular_problem

SMALL = TrainSettings(
    n_evaluations=200, rounds=2, evaluator_steps=5, evaluator_full_steps=1, generator_steps=5,
    evaluator_hidden=16, generator_hidden=16, n_budgets=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained():
    return train_run(mobilenet_problem(), SMALL)


@pytest.fixture(scope="module")
def client(trained):
    with TestClient(create_app(trained)) as client:
        yield client


@pytest.fixture(scope="module")
def tabular_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    space = tabular_problem(n_positions=3, n_choices=3).space
    lines = ["a,b,c,top1,latency_ms"]
    for row, top1, latency_ms in zip(space.rows, space.top1, space.latency_ms, strict=True):
        lines.append(",".join(map(str, [*row, top1, latency_ms])))
    (folder / "bench.csv").write_text("\n".join(lines) + "\n")
    train_run(tabular_inputs(folder / "bench.csv"), SMALL, folder / "run")
    return folder / "run"


def test_answers_are_those_of_the_generator(client, trained):
    body = {"budgets_ms": [20.0, 30], "seed": 7, "samples": 16}
    answer = client.post("/generate", json=body)
    assert answer.status_code == 200
    made = trained.generate([20.0, 30.0], seed=7, n_samples=16)
    for row, expected in zip(answer.json()["results"], made, strict=True):
        assert set(row) == {
            "budget_ms", "arch", "ofa", "latency_ms", "interval_ms", "top1", "feasible",
            "generation_ms",
        }  # fmt: skip
        assert (row["arch"], row["latency_ms"], row["top1"]) == (
            expected.arch, expected.latency_ms, expected.top1,
        )  # fmt: skip
        assert row["latency_ms"] <= row["budget_ms"] and row["feasible"]
        assert row["ofa"]["d"] == [int(depth) for depth in row["arch"].split(":")[0].split(",")]


def test_a_tabular_space_answers_with_tokens():
    run = train_run(tabular_problem(n_positions=3, n_choices=3), SMALL)
    with TestClient(create_app(run)) as client:
        (row,) = client.post("/generate", json={"budgets_ms": [9]}).json()["results"]
        refused = client.post("/generate", json={"budgets_ms": [5], "max_params": 6e6})
    assert row["arch"] == ",".join(row["tokens"]) and row["interval_ms"] is None
    assert refused.status_code == 409
    assert "no networks to count MAdds" in refused.json()["detail"]


class PythonSpace:
    """A space that is neither MobileNetV3 nor a table: two tokens of three choices."""

    name = "python"
    positions = (TokenPosition("a", (0, 1, 2)), TokenPosition("b", (0, 1, 2)))

    def sample(self, n, rng):
        return rng.integers(3, size=(n, 2), dtype=np.int8)

    def parse(self, text):
        return np.array([int(token) for token in text.split("-")], np.int8)

    def format(self, tokens):
        return "-".join(map(str, tokens))


class SumCost:
    unit = "ms"

    def __call__(self, tokens):
        return 1.0 + tokens.sum(axis=1)

    def relative_interval(self, confidence):
        raise InvalidInputError("not calibrated")


class SumAccuracy:
    def top1(self, tokens):
        return 0.5 + tokens.sum(axis=1) / 10


def test_a_space_in_python_answers_with_its_text():
    settings = replace(SMALL, evaluator_steps=30, generator_steps=20)
    run = train_run(Problem(PythonSpace(), SumCost(), SumAccuracy()), settings)
    with TestClient(create_app(run)) as client:
        answer = client.post("/generate", json={"budgets_ms": [5.5]})
    (row,) = answer.json()["results"]
    assert (row["arch"], row["latency_ms"], row["top1"]) == ("2-2", 5.0, 0.9)
    assert "ofa" not in row and "tokens" not in row


def test_bounds_and_confidence_are_kept(client, trained):
    body = {"budgets_ms": [25], "confidence": 0.95, "max_params": 5e6, "max_madds": 2.2e8}
    (row,) = client.post("/generate", json=body).json()["results"]
    space = trained.problem.space
    arch = space.parse_architecture(row["arch"])
    assert row["interval_ms"][1] <= 25
    assert space.params(arch) <= 5e6 and space.madds(arch) <= 2.2e8


def test_an_infeasible_budget_is_409_with_the_reachable_range(client, trained):
    refused = client.post("/generate", json={"budgets_ms": [30, 0.5]})
    assert refused.status_code == 409
    assert refused.json()["reachable_ms"] == list(trained.reachable_ms)
    assert "no architecture fits 0.5 ms" in refused.json()["detail"]
    careful = client.post("/generate", json={"budgets_ms": [0.5], "confidence": 0.9})
    assert careful.json()["reachable_ms"] == pytest.approx(
        [bound * 1.02 for bound in trained.reachable_ms]
    )
    # the least budget it names is one that it meets
    low = trained.reachable_ms[0]
    assert client.post("/generate", json={"budgets_ms": [low]}).status_code == 200


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "budgets_ms"),
        ({"budgets_ms": []}, "budgets_ms"),
        ({"budgets_ms": [20] * (MAX_BUDGETS + 1)}, "budgets_ms"),
        ({"budgets_ms": [0]}, "budgets_ms.0"),
        ({"budgets_ms": [20, -1]}, "budgets_ms.1"),
        ({"budgets_ms": ["20"]}, "budgets_ms.0"),
        ({"budgets_ms": [20], "samples": 0}, "samples"),
        ({"budgets_ms": [20], "samples": MAX_SAMPLES + 1}, "samples"),
        ({"budgets_ms": [20], "confidence": 1}, "confidence"),
        ({"budgets_ms": [20], "max_params": 0}, "max_params"),
        ({"budgets_ms": [20], "budget": 3}, "budget"),
        ([20], "body"),
    ],
)
def test_bad_values_are_422_and_named(client, body, where):
    refused = client.post("/generate", json=body)
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith(f"{where}: ")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 422),
        (b"[" * (MAX_BODY_BYTES - 1), 400),
        (b'{"budgets_ms": [NaN]}', 422),
        (b'{"budgets_ms": [1e999]}', 422),
        (b"[" + b"1" * 5000 + b"]", 400),
        (b" " * (MAX_BODY_BYTES + 1), 413),
    ],
)
def test_bodies_that_are_no_request_are_refused(client, content, status):
    headers = {"content-type": "application/json"}
    refused = client.post("/generate", content=content, headers=headers)
    assert refused.status_code == status
    assert refused.json()["detail"]


def test_a_long_body_without_a_length_is_refused(client):
    chunks = (b" " * 1000 for _ in range(1000))
    refused = client.post("/generate", content=chunks)
    assert refused.status_code == 413


def test_health_names_space_and_range(client, trained):
    document = client.get("/health").json()
    assert document["status"] == "ok" and document["space"] == "mbv3"
    assert document["reachable_ms"] == list(trained.reachable_ms)


def test_schemathesis_finds_nothing(trained):
    """Every phase of its engine: boundary values, then valid and invalid random requests."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(trained))
    schema.config.seed = 0
    schema.config.generation.update(max_examples=100)
    passed: Counter[str] = Counter()
    found = []
    for event in engine.from_schema(schema).execute():
        assert not isinstance(event, events.NonFatalError | events.FatalError), event
        if isinstance(event, events.ScenarioFinished):
            for identity, checks in event.recorder.checks.items():
                for check in checks:
                    if check.failure_info:
                        body = event.recorder.cases[identity].value.body
                        found.append((check.name, check.failure_info.failure.message, body))
                    passed[check.name] += 1
    assert found == []
    assert passed["positive_data_acceptance"] > 100 < passed["negative_data_rejection"]


def test_the_command_serves_on_loopback_until_interrupted(tabular_run):
    command = [
        sys.executable,
        "-c",
        "from pnag.cli.app import main; main()",
        "serve",
        "--run",
        tabular_run,
    ]
    with subprocess.Popen(
        [*command, "--port", "0", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout
            document = json.loads(process.stdout.readline())
            assert document["url"].startswith("http://127.0.0.1:")
            request = urllib.request.Request(
                document["url"] + "/generate",
                data=json.dumps({"budgets_ms": document["reachable_ms"]}).encode(),
                headers={"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                rows = json.load(answer)["results"]
            assert [row["feasible"] for row in rows] == [True, True]
        finally:
            process.send_signal(signal.SIGINT)
            errors = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_small_answers_are_sent_at_once():
    """Without TCP_NODELAY an answer waits 40 ms for the reader's delayed acknowledgement."""

    async def nodelay(listener):
        accepted = asyncio.get_running_loop().create_future()

        class Accepted(asyncio.Protocol):
            def connection_made(self, transport):
                connection = transport.get_extra_info("socket")
                accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                transport.close()

        async with await asyncio.get_running_loop().create_server(Accepted, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            set_option = await accepted
            writer.close()
            return set_option

    assert asyncio.run(nodelay(listen("127.0.0.1", 0)))


def test_a_port_in_use_is_one_line(tabular_run, capsys):
    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        assert run_command(["serve", "--run", str(tabular_run), "--port", port]) == 2
    assert "choose another --host or --port" in capsys.readouterr().err
