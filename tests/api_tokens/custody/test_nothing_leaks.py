"""No secret is anywhere but where it was asked for: every command, told to say all, going well and going wrong."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.builders import DOCUMENTED
from support.interruptions import Ended, Runs
from support.keyrings import backends, entries
from support.running_server import PEPPER, make_secret, make_store, serving
from tokctl.api_tokens.custody.ledger import RESCUE_SUFFIX
from tokctl.cli.command_tree import COMMAND_TREE, CommandGroup
from tokctl.store import open_store

SECRET = re.compile(rb"xvc_[0-9A-Za-z]{16,}|eyJ[\w-]+\.eyJ[\w-]+")
ONES_OWN = "xvc_" + "L" * 34 + "0kQm2z"
"""What a user hands in on stdin."""

COMMANDS: dict[str, list[str]] = {
    "instances list": [""],
    "instances show": ["@latest"],
    "incidents list": ["", "--by element"],
    "tokens list": ["@latest", "no-such-instance"],
    "tokens show": ["srv1-token-aB3dEf9hK2mN"],
    "tokens tree": ["@latest"],
    "tokens history": ["@latest"],
    "tokens watch": ["@latest --until 0.1s"],
    "tokens wait": ["@latest --for element=x --timeout 0.1s"],
    "tokens trace": ["@latest"],
    "debug": [""],
    "perf": [""],
    "flow": ["@latest"],
    "explain": ["srv1-token-aB3dEf9hK2mN"],
    "diagram": ["@latest"],
    "export": ["@latest --format csv"],
    "report": ["@latest --out {folder}/report.html"],
    "snapshot": ["@latest --to {folder}/taken.db"],
    "doctor": [""],
    "auth login": ["--stdin", "--stdin --email me@example.org", "--stdin --no-verify"],
    "auth status": [""],
    "auth logout": [""],
    "api-tokens create": [
        "one",
        "one",
        "two --save file:{folder}/two",
        "three --save env-file:{folder}/.env",
        "four --save command:'sh -c \"ps -eo args >> {folder}/ps; cat\"'",
        "five --save command:false",
        "six --save file:/nonexistent/six",
        "seven --scope nothing",
    ],
    "api-tokens list": ["--all", "-o json --all", "-o csv --all", "--expiring 365d -o yaml"],
    "api-tokens show": ["one", "two -o json", "nobody", ONES_OWN],
    "api-tokens update": ["one --description new", "one --expires never -o json"],
    "api-tokens disable": ["one", "nobody", ONES_OWN],
    "api-tokens enable": ["one -o json", ONES_OWN],
    "api-tokens rotate": ["one", "two --grace 0", "three", "four"],
    "api-tokens apply": ["-f {folder}/tokens.yaml", "-f {folder}/tokens.yaml --dry-run -o json", "-f {folder}/two"],
    "api-tokens secret": ["nobody"],
    "api-tokens exec": ["-- sh -c 'ps -eo args >> {folder}/ps'", "-- false", "-- no-such-program"],
    "api-tokens verify": [""],
    "api-tokens mask": [""],
    "api-tokens scan": ["{folder}/two {folder}/.env", "- -o sarif", "{folder}/two -o json"],
    "api-tokens audit": ["--all", "verify", "-o json"],
    "api-tokens revoke": ["two --yes", "--secret-stdin --yes", "--orphans --yes", "--name t* --yes -o json"],
    "config view": ["--origin"],
    "config set": ["contexts.x.timeout 9s", "contexts.x.server https://x.example", "contexts.x.credential " + ONES_OWN],
    "config get": ["contexts.x.server"],
    "config unset": ["contexts.x.timeout"],
    "config use": ["x"],
    "config current-context": [""],
    "config rename": ["x y"],
    "config delete": ["y"],
    "config path": [""],
    "config get-contexts": [""],
    "config validate": [""],
    "store import": ["{documented} --store {folder}/own.db"],
    "store export": ["@latest --store {folder}/own.db"],
    "store info": ["--store {folder}/own.db"],
    "store check": ["--store {folder}/own.db"],
    "store backup": ["{folder}/copy.db --store {folder}/own.db"],
    "store copy": ["{folder}/own.db {folder}/copied.db"],
    "store migrate": ["--dry-run --store {folder}/own.db"],
    "store prune": ["--completed-before 1d --store {folder}/own.db"],
    "simulate": ["{folder}/nothing.bpmn --store {folder}/own.db"],
    "completion": ["bash"],
    "engines": ["", "atomd"],
    "api-tokens kinds": ["", "strapi"],
    "demo": ["--store {folder}/nowhere/demo.db --no-such-option"],
    "serve": ["--host 192.0.2.1 --store {folder}/own.db"],
}
"""Command lines for each command, in an order in which they find what they need."""
ALONE = ("config", "store", "simulate", "demo", "serve", "api-tokens mask", "completion", "engines", "api-tokens kinds")
"""Those that ask no server."""


def leaves(group: CommandGroup, *path: str) -> Iterator[str]:
    for name, entry in group.commands.items():
        if isinstance(entry, CommandGroup):
            yield from leaves(entry, *path, name)
        else:
            yield " ".join([*path, name])


def test_every_command_is_tried():
    assert sorted(COMMANDS) == sorted(leaves(COMMAND_TREE))


class Scene:
    """A server, a keyring, and everything that was written, wherever."""

    def __init__(self, folder: Path, runs: Runs, url: str, secret: str) -> None:
        self.folder, self.runs, self.url = folder, runs, url
        self.env = backends(folder, "own_backends.Kept") | {
            "TOKCTL_STATE_DIR": str(folder / "state"),
            "TOKCTL_PEPPER": PEPPER,
            "TOKCTL_API_KEY": secret,
            "TOKCTL_CONFIG": str(folder / "config.yaml"),
            "HOME": str(folder),
            "TOKCTL_TIMEOUT": "5s",
        }
        (folder / "tokens.yaml").write_text(
            f"apiTokens: [{{name: one}}, {{name: applied, save: 'file:{folder}/applied'}}]"
        )
        (folder / "config.yaml").write_text("{}")

    def run(self, command: str, words: str, *more: str, url: str | None = None, **env: str) -> Ended:
        from shlex import split

        line = split(words.format(folder=self.folder, documented=DOCUMENTED))
        where = [] if command.startswith(ALONE) else ["--server", url or self.url]
        at = line.index("--") if "--" in line else len(line)
        line[at:at] = [*where, *more]
        return self.runs.run(*command.split(), *line, env=self.env | env, stdin=ONES_OWN + "\n")


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    store = make_store(folder / "served.db")
    secret, _ = make_secret(store, "administrator", "*", type_="full-access")
    with (
        closing(Runs(backends(folder, "own_backends.Kept"))) as runs,
        serving(store, "--access-log", str(folder / "access.log")) as served,
    ):
        yield Scene(folder, runs, served.url, secret)


def leaked(ended: Ended) -> list[bytes]:
    return SECRET.findall((ended.out + ended.err).encode())


def test_nothing_is_said_and_nothing_written(scene):
    place = scene
    outputs = {}
    for command, lines in COMMANDS.items():
        for words in lines:
            ended = place.run(command, words, "-v")
            outputs[command, words] = ended
            assert leaked(ended) == [], (command, words)
            assert "internal error" not in ended.err, ended.err
    fine = {command for (command, _), ended in outputs.items() if ended.code in {0, 1}}
    assert set(COMMANDS) - fine <= {"simulate", "demo", "serve", "api-tokens secret", "tokens wait"}, (
        "what fails shows little"
    )
    known = {secret for name, secret in entries(place.folder).items() if "canary" not in name}
    assert any(secret.startswith("xvc_") for secret in known)
    shown = place.run("api-tokens secret", "one")
    assert shown.out.strip() in known
    assert SECRET.search(shown.err.encode()) is None
    for what in ("ps", "access.log", "served.db", "served.db-wal", "state", "config.yaml"):
        found = place.folder / what
        for file in [found, *found.rglob("*")]:
            if file.is_file() and file.suffix != RESCUE_SUFFIX:  # those are where the message says
                assert SECRET.search(file.read_bytes()) is None, file
    assert b"PS -EO ARGS" in (place.folder / "ps").read_bytes().upper()
    assert "POST /api/api-tokens" in (place.folder / "access.log").read_text().replace('","path":"', " ")
    with open_store(str(place.folder / "served.db")) as store:
        told = {one.action for one in store.audit.entries()}
        assert told == {"create", "update", "disable", "enable", "revoke", "rotate"}


@pytest.mark.parametrize(
    "words",
    [
        "api-tokens create one --save {}",
        "api-tokens create one --scope {}",
        "api-tokens create one --expires {}",
        "api-tokens create one --allowed-cidr {}",
        "api-tokens exec -- {}",
        "api-tokens list --columns {}",
        "api-tokens apply -f {}",
        "api-tokens {}",
        "instances list --context {}",
        "instances list -o {}",
        "instances show {}",
        "{}",
    ],
)
@pytest.mark.parametrize("secret", [ONES_OWN, ONES_OWN.lower(), "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"])
def test_an_error_does_not_repeat_an_argument_that_is_a_secret(tokctl, words, secret):
    ran = tokctl(*(word.format(secret) for word in words.split()))
    assert ran.code not in {0, 70}
    assert SECRET.search((ran.out + ran.err).encode()) is None


@pytest.mark.parametrize("wrong", ["refused", "unauthorised", "redirected", "garbled"])
def test_no_traceback_tells_one(scene, wrong):
    from support.fake_cms import GARBLED, Fault
    from support.fake_xiver import FakeXiver

    place = scene
    with FakeXiver() as fake:
        fake.fault = {"garbled": Fault(GARBLED), "redirected": Fault(GARBLED, "GET")}.get(wrong)
        url = {"refused": "http://127.0.0.1:9"}.get(wrong, fake.url if fake.fault else None)
        env = {"unauthorised": {"TOKCTL_API_KEY": ONES_OWN}, "garbled": {"TOKCTL_API_KEY": fake.jwt}}.get(wrong, {})
        for command, lines in COMMANDS.items():
            if command.startswith(ALONE):
                continue
            shutil.rmtree(place.folder / "state", ignore_errors=True)
            ended = place.run(command, lines[0], "-v", "--debug-traceback", url=url, **env)
            assert leaked(ended) == [], (command, ended)
            known = json.dumps(list(env.values()))
            assert not any(secret in ended.out + ended.err for secret in json.loads(known))
