"""The examples of docs/architecture.md, each applied to a copy of the source: one new file, one line, and it works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from support.documentation import fences
from support.paths import FIXTURES, ROOT

PAGE = ROOT / "docs/architecture.md"
EXAMPLES = {
    section.splitlines()[0]: [fence for fence in fences(PAGE) if fence.title and fence.text in section]
    for section in PAGE.read_text(encoding="utf-8").split("\n### ")[1:]
}


class Copy:
    """A copy of the source with an example applied to it, and a home of its own."""

    def __init__(self, folder, section):
        self.source = folder / "src"
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("TOKCTL_")} | {
            "PYTHONPATH": str(self.source),
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_STATE_HOME": str(folder / "state"),
            "TOKCTL_STORE": str(folder / "store.db"),
            "TOKCTL_API_KEY": "a-secret",
        }
        shutil.copytree(ROOT / "src", self.source, ignore=shutil.ignore_patterns("__pycache__"))
        for fence in EXAMPLES[section]:
            self.apply(folder, fence)
        self("store", "import", FIXTURES / "orders.ndjson")

    def apply(self, folder, fence):
        path, _, place = fence.title.partition(": ")
        registry, _, position = place.partition(", ")
        if not registry:
            assert not (folder / path).exists()
            (folder / path).write_text(fence.text)
            return
        assert fence.text.count("\n") == 1, "a registry takes one line"
        before = (folder / path).read_text()
        others = "" if position == "first" else r"(?:.*\n)*?(?=\})"
        line = rf"(^{registry}\b.* = \{{\n{others})"
        after, places = re.subn(line, rf"\g<1>{fence.text}", before, count=1, flags=re.MULTILINE)
        assert places == 1
        (folder / path).write_text(after)

    def __call__(self, *words, code=0):
        done = subprocess.run(
            [sys.executable, "-m", "tokctl", *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            env=self.environ,
        )
        assert done.returncode == code, done.stderr
        return done.stdout


@pytest.fixture
def copy(tmp_path, request):
    return Copy(tmp_path, request.param)


def on(section):
    return pytest.mark.parametrize("copy", [section], indirect=True)


@on("Add an output format")
def test_a_format_is_a_file_and_a_line(copy):
    listed = copy("instances", "list", "-o", "markdown", "--columns", "instance_id,status").splitlines()
    assert listed[:2] == ["| instance_id | status |", "| --- | --- |"]
    assert "| ord-1001 | COMPLETED |" in listed
    assert "| instance_id | ord-1001 |" in copy("instances", "show", "ord-1001", "-o", "markdown").splitlines()
    copy("config", "set", "output", "markdown")
    assert copy("instances", "list").startswith("| instance_id |")


@on("Add a debug rule")
def test_a_rule_is_a_file_and_a_line(copy, tmp_path):
    listed = json.loads(copy("debug", "--list-rules", "-o", "json"))["rules"]
    assert "UNASSIGNED_USER_TASKS" in [rule["type"] for rule in listed]
    copy("store", "import", write_tokens(tmp_path / "approvals.ndjson"))
    options = ("debug", "-r", "UNASSIGNED_USER_TASKS", "-o", "json", "--query", "issues[].tokens[].id")
    assert json.loads(copy(*options)) == ["forgotten"]
    assert json.loads(copy(*options, "-T", "unassigned=36500d")) == []


def write_tokens(path):
    """Two user tasks that wait: one that somebody has taken, and one that nobody has."""
    token = {"process_instance_id": "vac-1", "element_id": "approve", "element_type": "userTask", "state": "ACTIVE"}
    times = dict.fromkeys(("created_at", "updated_at"), "2025-01-11T10:00:00Z")
    taken = {"token_id": "taken", "execution_context": {"worker_id": "ines"}}
    path.write_text("\n".join(json.dumps(token | times | own) for own in (taken, {"token_id": "forgotten"})))
    return path


class JsonServer:
    """A server on loopback that answers with JSON: what ``answer(method, path, document)`` returns."""

    def __init__(self, answer):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                document = answer(self.command, self.path.partition("?")[0], json.loads(body or "null"))
                data = json.dumps(document).encode()
                self.send_response(404 if document is None else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_GET  # noqa: N815 - the base class's naming

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


RUN = {
    "id": "run-1",
    "pipeline": "nightly",
    "steps": [
        {
            "id": "s1",
            "task": "build",
            "state": "COMPLETED",
            "started": "2025-01-11T10:00:00Z",
            "ended": "2025-01-11T10:01:00Z",
        },
        {"id": "s2", "task": "test", "state": "ACTIVE", "started": "2025-01-11T10:01:00Z"},
    ],
}


@on("Add an engine")
def test_an_engine_is_a_file_and_a_line(copy):
    documents = {"/health": {"product": "job-runner"}, "/runs": ["run-1"], "/runs/run-1": RUN}
    with JsonServer(lambda _, path, __: documents.get(path)) as runner:
        query = ("--query", "tokens[].[element_id, state]")
        listed = json.loads(copy("tokens", "list", "@latest", "--server", runner.url, "-o", "json", *query))
        assert listed == [["build", "COMPLETED"], ["test", "ACTIVE"]]
        assert "LONG_RUNNING_TOKENS" in copy("debug", "--by", "finding", "--server", runner.url)
        assert "build" in copy("perf", "--server", runner.url, "--engine-kind", "runs")
        assert "s2" in copy("tokens", "tree", "run", "--server", runner.url)
        copy("instances", "show", "none", "--server", runner.url, code=3)


@on("Add a registry of API tokens")
def test_a_registry_is_a_file_and_a_line(copy):
    tokens = []
    product = "keyhub"
    secret = "xvc_" + "a" * 40

    def answer(method, path, document):
        if method == "POST":
            known = {"id": len(tokens) + 1, "token": "xvc_aaaa...", "createdAt": "2025-01-11T10:00:00Z"}
            tokens.insert(0, document | known)
            return tokens[0] | {"token": secret}
        return {"product": product, "data": tokens, "meta": {"pagination": {"total": len(tokens)}}}

    create = ("api-tokens", "create", "ci", "--scope", "process,token", "--show-secret", "--server")
    with JsonServer(answer) as hub:
        assert copy(*create, hub.url) == f"{secret}\n"
        listed = copy("api-tokens", "list", "--server", hub.url, "-o", "json", "--query", "data[].[name, scopes]")
        assert json.loads(listed) == [["ci", ["process", "token"]]]
        assert "KeyHub" in copy("api-tokens", "kinds", "keyhub")
    product, tokens = "another", []
    with JsonServer(answer) as hub:
        copy(*create, hub.url, code=2)
        assert tokens == []


def test_every_plug_point_of_an_example_is_tried():
    assert set(EXAMPLES) == {
        "Add an engine",
        "Add a registry of API tokens",
        "Add an output format",
        "Add a debug rule",
    }
