"""`pnag serve`: the same answers as `generate --json`, and nothing that breaks it."""

import asyncio
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace

import numpy as np
import pytest
import schemathesis
import uvicorn
from playwright.sync_api import sync_playwright
from schemathesis import engine
from schemathesis.engine import events
from starlette.testclient import TestClient

from pnag.cli.app import run as run_command
from pnag.learning.settings import TrainSettings
from pnag.runs.inputs import tabular_inputs
from pnag.runs.run import train_run
from pnag.search.problem import Problem
from pnag.serve.app import MAX_BODY_BYTES, MAX_BUDGETS, MAX_SAMPLES, create_app
from pnag.serve.server import config_of, listen
from pnag.serve.work import BusyError, WorkQueue
from predictors.tabular import TabularAccuracy, TabularCost, further_costs
from profiler.errors import InvalidInputError
from profiler.spaces.base import TokenPosition
from tests.pnag.landscapes import grid_space, mobilenet_problem, tabular_problem, write_tabular
from tests.pnag.report.browser import ARGUMENTS, CHROMIUM

pytestmark = pytest.mark.slow

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
def named(trained):
    """A service that answers to two names."""
    with TestClient(create_app(trained, host_names={"localhost", "lab.example"})) as client:
        yield client


@pytest.fixture(scope="module")
def tabular_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    space = tabular_problem(n_positions=3, n_choices=3).space
    train_run(tabular_inputs(write_tabular(folder / "bench.csv", space)), SMALL, folder / "run")
    return folder / "run"


def test_answers_are_those_of_the_generator(client, trained):
    body = {"budgets_ms": [20.0, 30], "seed": 7, "samples": 16}
    answer = client.post("/generate", json=body)
    assert answer.status_code == 200
    made = trained.generate([20.0, 30.0], seed=7, n_samples=16)
    for row, expected in zip(answer.json()["results"], made, strict=True):
        assert set(row) == {
            "budget_ms", "arch", "ofa", "latency_ms", "interval_ms", "top1", "feasible",
            "generation_ms", "origin", "top1_interval", "madds", "params", "bound", "bound_used",
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


def test_an_infeasible_budget_leaves_the_others(client, trained):
    answer = client.post("/generate", json={"budgets_ms": [0.5, 30]})
    assert answer.status_code == 200
    unmet, row = answer.json()["results"]
    assert unmet.keys() == {"budget_ms", "feasible", "reachable_ms", "reason"}
    assert (unmet["budget_ms"], unmet["feasible"]) == (0.5, False)
    assert unmet["reachable_ms"] == list(trained.reachable_ms)
    assert row["budget_ms"] == 30 and row["feasible"]


def test_budgets_of_which_none_can_be_met_are_409_with_the_reachable_range(client, trained):
    refused = client.post("/generate", json={"budgets_ms": [0.5, 0.6]})
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
        ({"budgets_ms": [20], "max_params": 6e6, "bounds": {"params": 4e6}}, "body"),
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
        (b"{", 400),
        (b"", 422),
        (b'{"budgets_ms": "\xff"}', 400),
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
    assert refused.json()["detail"] and refused.json()["reachable_ms"] is None


def test_a_long_body_without_a_length_is_refused(client):
    chunks = (b" " * 1000 for _ in range(1000))
    refused = client.post("/generate", content=chunks)
    assert refused.status_code == 413


def test_health_names_space_and_range(client, trained):
    document = client.get("/health").json()
    assert document["status"] == "ok" and document["space"] == "mbv3"
    assert document["reachable_ms"] == list(trained.reachable_ms)


OWN = ["127.0.0.1:8000", "[::1]:8000", "192.168.0.9", "localhost", "LocalHost:80", "lab.example"]
FOREIGN = [
    "rebound.example", "rebound.example:8000", "localhost.rebound.example", "127.0.0.1.example:80",
    "lab.example.", "[::1", "", "127.0.0.1 x",
]  # fmt: skip


@pytest.mark.parametrize(
    ("host", "status"), [*((host, 200) for host in OWN), *((host, 421) for host in FOREIGN)]
)
def test_a_page_whose_name_leads_here_is_not_answered(named, host, status):
    headers = {"host": host}
    answers = [named.get("/health", headers=headers), named.get("/", headers=headers)]
    answers.append(named.post("/generate", json={"budgets_ms": [30]}, headers=headers))
    assert [answer.status_code for answer in answers] == [status] * 3
    if status == 421:
        assert answers[0].json()["detail"].endswith("--allow-host NAME lets it in")


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], {"localhost", "127.0.0.1"}),
        (["--host", "::1", "--allow-host", "Lab.example"], {"localhost", "::1", "lab.example"}),
        (["--host", "0.0.0.0"], None),  # whoever is there may ask, by any name of the machine
        (["--host", "0.0.0.0", "--allow-host", "lab"], {"localhost", "0.0.0.0", "lab"}),
    ],
)
def test_which_names_the_command_answers_to(tabular_run, monkeypatch, options, names):
    told = {}
    monkeypatch.setattr("pnag.serve.server.serve", lambda *_, **options: told.update(options))
    monkeypatch.setattr("pnag.serve.server.listen", lambda _, port: listen("127.0.0.1", port))
    assert run_command(["serve", "--run", str(tabular_run), "--port", "0", *options]) == 0
    assert told["host_names"] == names


@pytest.mark.parametrize("name", ["lab:8000", "http://lab", "", "*", "a..b"])
def test_what_is_no_name_of_a_host_cannot_be_allowed(tmp_path, capsys, name):
    assert run_command(["serve", "--run", str(tmp_path), "--allow-host", name]) == 2
    assert "is no name of a host" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["/", "/health", "/metrics", "/openapi.json"])
def test_head_is_get_without_its_body(client, path):
    get, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    if path != "/metrics":  # counts both
        assert head.headers["content-length"] == str(len(get.content))


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("GET", "/generate", 405)]
)
def test_all_errors_are_json(client, method, path, status):
    refused = client.request(method, path)
    assert refused.status_code == status and refused.json()["detail"]
    assert refused.json()["reachable_ms"] is None
    assert refused.headers.get("allow") == ("POST" if status == 405 else None)


def test_what_fails_unforeseen_is_500_in_json(trained, monkeypatch, caplog):
    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(type(trained), "generate_each", fail)
    lines: list[str] = []
    with TestClient(create_app(trained, log=lines.append)) as client:
        failed = client.post("/generate", json={"budgets_ms": [30]})
    assert failed.status_code == 500 and failed.json()["detail"]
    assert "ZeroDivisionError" in caplog.text and " 500 " in lines[0]


def test_every_request_is_a_line_and_is_counted(trained):
    lines: list[str] = []
    with TestClient(create_app(trained, log=lines.append)) as client:
        client.post("/generate", json={"budgets_ms": [20, 30], "samples": 100})
        client.head("/health")
        client.get("/no%0Aline%1b[31m")
        metrics = client.get("/metrics")
    assert [line.split()[1:4] for line in lines] == [
        ["POST", "'/generate'", "200"], ["HEAD", "'/health'", "200"],
        ["GET", "'/no%0Aline%1b[31m'", "404"], ["GET", "'/metrics'", "200"],
    ]  # fmt: skip
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = dict(
        line.rsplit(" ", 1) for line in metrics.text.splitlines() if not line.startswith("#")
    )
    assert float(samples.pop("pnag_generation_seconds_total")) > 0
    assert samples == {
        'pnag_requests_total{path="/generate",status="200"}': "1",
        'pnag_requests_total{path="/health",status="200"}': "1",
        'pnag_requests_total{path="other",status="404"}': "1",
        "pnag_abandoned_total": "0", "pnag_draws_total": "200", "pnag_draws_waiting": "0",
    }  # fmt: skip


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


# --- Who holds it up ----------------------------------------------------------------------


@contextmanager
def served(app, **bounds):
    """The application on a socket of its own; its address."""
    server = uvicorn.Server(config_of(app, **bounds))
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            server.should_exit = True
            thread.join(timeout=30)
    assert not thread.is_alive()


def asked(address, path, body=None):
    """Status, headers and document of one request on a new connection."""
    host, port = address
    connection = http.client.HTTPConnection(host, port, timeout=20)
    content = None if body is None else json.dumps(body)
    method, headers = "GET" if body is None else "POST", {"Content-Type": "application/json"}
    connection.request(method, path, content, headers)
    answer = connection.getresponse()
    with closing(connection):
        return answer.status, answer.headers, json.loads(answer.read())


HALVES = [
    b"",
    b"GET /health HT",
    b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
]


@pytest.mark.parametrize("half", HALVES, ids=["nothing", "half a header", "half a body"])
def test_half_open_connections_shut_nobody_out(trained, half):
    """Far more than are kept: the oldest go first, and whoever asks in whole is answered."""
    app = create_app(trained)
    with served(app, max_half_open=20) as address, ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(address)) for _ in range(140)]
        for connection in slow:
            with suppress(OSError):  # closed by now
                connection.sendall(half)
        assert asked(address, "/health")[0] == 200
        assert asked(address, "/generate", {"budgets_ms": [30]})[0] == 200


@pytest.mark.parametrize("half", HALVES, ids=["nothing", "half a header", "half a body"])
def test_a_request_that_does_not_come_in_is_given_up(trained, half):
    with (
        served(create_app(trained), request_s=0.3) as address,
        socket.create_connection(address, timeout=20) as connection,
    ):
        connection.sendall(half)
        with suppress(ConnectionResetError):
            assert connection.recv(100) == b""


@pytest.fixture
def held_run(trained, monkeypatch):
    """A run whose generations wait until `go` is set; the budgets that were worked on."""
    go, worked_on = threading.Event(), []
    generate_each = type(trained).generate_each

    def held(run, budgets_ms, **options):
        worked_on.append(budgets_ms)
        assert go.wait(20)
        return generate_each(run, budgets_ms, **options)

    monkeypatch.setattr(type(trained), "generate_each", held)
    yield trained, go, worked_on
    go.set()


def until(true):
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_abandoned_requests_are_not_worked_on(held_run):
    run, go, worked_on = held_run
    queue = WorkQueue()
    body = json.dumps({"budgets_ms": [20.0] * MAX_BUDGETS, "samples": MAX_SAMPLES}).encode()
    head = f"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: application/json\r\n\r\n"
    with served(create_app(run, queue=queue)) as address, ThreadPoolExecutor() as others:
        first = others.submit(asked, address, "/generate", {"budgets_ms": [30.0]})
        until(lambda: worked_on)
        for _ in range(6):
            with socket.create_connection(address) as connection:
                connection.sendall(head.encode() + body)
                until(lambda: queue.draws > MAX_BUDGETS * MAX_SAMPLES)
            until(lambda: queue.draws < MAX_BUDGETS * MAX_SAMPLES)
        assert asked(address, "/health")[0] == 200  # while one is at work
        last = others.submit(asked, address, "/generate", {"budgets_ms": [40.0]})
        go.set()
        assert (first.result()[0], last.result()[0]) == (200, 200)
    assert worked_on == [[30.0], [40.0]]
    assert (queue.n_abandoned, queue.draws) == (6, 0)


def test_too_much_work_is_refused_early(held_run):
    run, go, worked_on = held_run
    queue = WorkQueue(max_draws=3 * 128)
    with served(create_app(run, queue=queue)) as address, ThreadPoolExecutor() as others:
        accepted = [
            others.submit(asked, address, "/generate", {"budgets_ms": [30.0]}) for _ in range(3)
        ]
        until(lambda: queue.draws == 3 * 128)
        status, headers, document = asked(address, "/generate", {"budgets_ms": [40.0]})
        assert status == 503 and int(headers["Retry-After"]) >= 1
        assert document["detail"].startswith("too many requests are waiting; try again in")
        go.set()
        assert [one.result()[0] for one in accepted] == [200, 200, 200]
    assert len(worked_on) == 3


def test_a_turn_that_does_not_come_is_refused(held_run):
    run, _, worked_on = held_run
    queue = WorkQueue(patience_s=0.2)
    with served(create_app(run, queue=queue)) as address:
        for _ in range(2):
            status, headers, document = asked(address, "/generate", {"budgets_ms": [30.0]})
            assert status == 503 and headers["Retry-After"]
            assert "its turn did not come within 0.2 s" in document["detail"]
        held_run[1].set()
    assert len(worked_on) == 1  # the second never began


def test_what_was_refused_never_begins_though_the_loop_has_not_turned():
    queue, go, ended = WorkQueue(patience_s=0.05), threading.Event(), threading.Event()
    begun = []

    def first():
        go.wait(20)
        ended.set()

    async def ask():
        held = asyncio.ensure_future(queue.run(first, 1, asyncio.sleep(20)))
        await asyncio.sleep(0)  # it begins
        with pytest.raises(BusyError):
            await queue.run(lambda: begun.append("second"), 1, asyncio.sleep(20))
        go.set()
        assert ended.wait(20)
        time.sleep(0.1)  # of the loop's, in which the worker looks for what comes next
        with pytest.raises(BusyError):
            await held

    asyncio.run(ask())
    queue.close()
    assert begun == []


def test_the_page_asks_a_budget_and_shows_the_architecture(trained):
    (expected,) = trained.generate([25.0])
    with served(create_app(trained)) as (host, port), sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS).new_page()
        requests = []
        page.on("request", lambda request: requests.append(request.url))
        late = []

        def hold(route):
            late.append(route)

        page.route("**/health", hold)
        page.goto(f"http://{host}:{port}/")
        page.get_by_label("Latency budget").fill("25")
        late[0].continue_()  # suggests a budget: what is typed stays
        page.get_by_text("on nothing is gained").wait_for()
        page.get_by_role("button").click()
        page.get_by_text(expected.arch).wait_for()
        assert f"{100 * expected.top1:.2f} %" in page.inner_text("#found")
        page.get_by_label("Latency budget").fill("0.1")
        page.get_by_role("button").click()
        page.get_by_text("no architecture fits 0.1 ms").wait_for()
        assert page.inner_text("#found") == ""
    assert all(url.startswith(f"http://{host}:{port}/") for url in requests)


def test_the_page_asks_bounds_on_further_costs():
    space = grid_space(n_positions=3, n_choices=3)
    space = replace(space, costs={"energy_mj": 40 / space.latency_ms})
    problem = Problem(space, TabularCost(space), TabularAccuracy(space), further_costs(space))
    run = train_run(problem, replace(SMALL, evaluator_steps=30, generator_steps=20))
    budget_ms = float(space.latency_ms.max())
    most_mj = float(np.quantile(40 / space.latency_ms, 0.3))
    (expected,) = run.generate([budget_ms], bounds={"energy": most_mj})
    with served(create_app(run)) as (host, port), sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS).new_page()
        page.goto(f"http://{host}:{port}/")
        page.get_by_label("energy, at most, mJ").fill(str(most_mj))
        page.get_by_label("Latency budget").fill(str(budget_ms))
        page.get_by_role("button").click()
        page.get_by_text(expected.arch, exact=True).wait_for()
        told = page.inner_text("#found")
        page.get_by_label("energy, at most, mJ").fill("0.001")
        page.get_by_role("button").click()
        page.get_by_text("energy").nth(1).wait_for()  # in what is said of the refusal
    spent_mj = 40 / expected.latency_ms
    assert f"{100 * spent_mj / most_mj:.2f} % of {most_mj}" in told
    assert float(told.split("energy")[1].split()[0]) == pytest.approx(spent_mj, rel=1e-3)


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
