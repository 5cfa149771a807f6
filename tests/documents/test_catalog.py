"""The commands answer with the documents of the catalog, and the documentation lists them."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re

import msgspec
import pytest
from msgspec import Struct

import tokctl.documents
from support.conformity import NonConformingError, check_conformity
from support.paths import ROOT
from tokctl.documents.catalog import DOCUMENTS, document_name
from tokctl.documents.debug import FindingDocument, FindingToken
from tokctl.documents.instances import ExportHead, InstanceDocument, InstanceOverview, InstanceOverviewDetail
from tokctl.documents.setup import CheckDocument
from tokctl.documents.store import ExportedInstance
from tokctl.documents.tokens import StandaloneToken, TokenDocument

OPEN = frozenset(
    {
        TokenDocument,
        StandaloneToken,
        InstanceDocument,
        InstanceOverview,
        InstanceOverviewDetail,
        ExportHead,
        ExportedInstance,
        FindingDocument,
        FindingToken,
        CheckDocument,
    }
)
"""Documents that may have members of their source, of other packages' rules, or of one check."""
BY_NAME = {document.name: document.struct for document in DOCUMENTS}

# --- what the commands write ----------------------------------------------------------------------

COMMANDS = {
    "tokens list ord-1001": "TokenList",
    "tokens list pay-2001 --live": "TokenList",
    "tokens list --all-instances --state FAILED": "AllTokens",
    "tokens show ord-1002 b3-pick": "StandaloneToken",
    "tokens history ord-1002": "History",
    "tokens tree ord-1001": "Tree",
    "tokens tree pay-2001 --depth 1": "Tree",
    "tokens tree ord-1002 --state FAILED": "Tree",
    "tokens trace ord-1002 --variables": "Trace",
    "tokens trace pay-2001 --format summary": "Trace",
    "tokens wait ord-1001 --for no-live": "Wait",
    "instances list": "InstanceOverviewList",
    "instances show ord-1002": "InstanceOverviewDetail",
    "incidents list": "IncidentList",
    "incidents list --by element": "IncidentGroupList",
    "debug": "Debug",
    "debug pay-2001": "Debug",
    "debug --list-rules": "RuleList",
    "explain ord-1002 b3-pick": "Explanation",
    "explain ord-1002": "ExplanationList",
    "explain ord-1001": "ExplanationList",
    "flow ord-1002 --variables": "Flow",
    "flow ord-1001": "Flow",
    "perf": "Performance",
    "perf ord-1001 --by element --compare ord-1002": "Performance",
    "store info": "StoreInfo",
    "store check": "StoreCheck",
    "store migrate --dry-run": "Migration",
    "store prune --completed-before 1d": "Prune",
    "api-tokens list": "ApiTokenOverviewList",
    "api-tokens show ci": "ApiTokenOverview",
    "api-tokens create new --save file:new.key": "CreatedApiToken",
    "api-tokens create shown --show-secret": "CreatedApiToken",
    "api-tokens rotate ci --save file:rotated.key": "CreatedApiToken",
    "api-tokens update ci --description x": "UpdatedApiToken",
    "api-tokens revoke ci --dry-run": "RevocationList",
    "api-tokens revoke ci --yes": "RevocationList",
    "api-tokens apply -f tokens.yaml --dry-run": "AppliedList",
    "api-tokens audit": "AuditEntryList",
    "api-tokens audit verify": "ChainCheck",
    "api-tokens scan ci.key": "Scan",
    "api-tokens verify": "VerifiedApiToken",
    "config view": "Configuration",
    "config get output": "Setting",
    "config get-contexts": "ContextList",
    "config path": "ConfigurationFile",
    "config validate": "ConfigurationCheck",
    "auth status": "CredentialList",
    "doctor": "Doctor",
    "engines": "EngineList",
    "engines atomd": "Engine",
    "api-tokens kinds": "RegistryList",
    "api-tokens kinds strapi": "Registry",
    "snapshot ord-1001 --to taken.db": "Snapshot",
}


@pytest.fixture
def place(tokctl, own_store, tmp_path, monkeypatch):
    """A folder with a store, an API token whose secret is in ci.key, and a file that declares another one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tokens.yaml").write_text("apiTokens: [{name: nightly}]")
    ran = tokctl("api-tokens", "create", "ci", "--save", "file:ci.key", "--store", own_store)
    assert ran.code == 0, ran.err
    return tmp_path


@pytest.mark.parametrize(("line", "name"), COMMANDS.items())
def test_a_command_answers_with_its_document(tokctl, own_store, place, orders, line, name):
    origin = ("--file", str(orders)) if line.startswith("snapshot") else ("--store", str(own_store))
    if line.startswith(("config", "auth", "engines", "api-tokens kinds")):
        origin = ()
    stdin = (place / "ci.key").read_bytes() if line == "api-tokens verify" else b""
    ran = tokctl(*line.split(), *origin, "-o", "json", stdin=stdin)
    check_conformity(json.loads(ran.out), BY_NAME[name], open_structs=OPEN)


def test_what_changes_the_configuration(tokctl, tmp_path, monkeypatch):
    for line in (
        "set contexts.a.store /tmp/a.db",
        "use a",
        "current-context",
        "rename a b",
        "unset contexts.b.store",
        "delete b",
    ):
        with monkeypatch.context() as patch:
            patch.setenv("TOKCTL_CONFIG", str(tmp_path / "config.yaml"))
            ran = tokctl("config", *line.split(), "-o", "json")
        assert ran.code == 0, ran.err
        name = "CurrentContext" if line == "current-context" else "ConfigurationChange"
        check_conformity(json.loads(ran.out), BY_NAME[name])


def test_lines_are_documents(tokctl, own_store):
    listed = tokctl("tokens", "list", "pay-2001", "-o", "ndjson", "--store", own_store).out.splitlines()
    for line in listed:
        check_conformity(json.loads(line), StandaloneToken, open_structs=OPEN)
    watched = tokctl("tokens", "watch", "ord-1001", "--events", "--store", own_store).out.splitlines()
    assert {json.loads(line)["event"] for line in watched} == {"watching", "tokens_updated", "ended"}
    for line in watched:
        check_conformity(json.loads(line), BY_NAME["WatchEvent"], open_structs=OPEN)


def test_what_is_exported_and_imported(tokctl, own_store, tmp_path):
    for line in tokctl("store", "export", "--store", own_store).out.splitlines():
        check_conformity(json.loads(line), BY_NAME["Export"], open_structs=OPEN)
    ran = tokctl("store", "export", "-o", "ndjson", "--store", own_store)
    (tmp_path / "lines.ndjson").write_text(ran.out)
    for line in map(json.loads, ran.out.splitlines()):
        check_conformity(line, StandaloneToken if "token_id" in line else InstanceDocument, open_structs=OPEN)
    ran = tokctl("store", "import", tmp_path / "lines.ndjson", "-o", "json", "--store", tmp_path / "copy.db")
    check_conformity(json.loads(ran.out), BY_NAME["Import"])
    ran = tokctl("store", "backup", tmp_path / "backup.db", "-o", "json", "--store", own_store)
    check_conformity(json.loads(ran.out), BY_NAME["Backup"])


# --- the comparison itself ------------------------------------------------------------------------


class Inner(Struct):
    a: int


class Outer(Struct):
    one: Inner
    more: list[Inner]
    maybe: str | None


@pytest.mark.parametrize(
    "value",
    [
        {"one": {"a": 1}, "more": []},
        {"one": {"a": 1}, "more": [], "maybe": None, "other": 1},
        {"more": [], "one": {"a": 1}, "maybe": None},
        {"one": {"a": 1}, "more": [{"a": "1"}], "maybe": None},
        {"one": {"a": 1}, "more": [], "maybe": 1},
        {"one": {}, "more": [], "maybe": None},
    ],
)
def test_a_difference_is_seen(value):
    check_conformity({"one": {"a": 1}, "more": [{"a": 2}], "maybe": None}, Outer)
    with pytest.raises(NonConformingError):
        check_conformity(value, Outer)


# --- the documentation ----------------------------------------------------------------------------


def structs() -> dict[str, type[Struct]]:
    """Every struct of the package, by the name that it has in the documentation."""
    found = {}
    for module in pkgutil.iter_modules(tokctl.documents.__path__, "tokctl.documents."):
        for one in vars(importlib.import_module(module.name)).values():
            if isinstance(one, type) and issubclass(one, Struct) and one.__module__ == module.name:
                found[document_name(one)] = one
    return found


def documented() -> dict[str, list[str]]:
    """The members in each table of the page, by the heading above."""
    text = (ROOT / "docs/scripting.md").read_text(encoding="utf-8")
    _, *parts = re.split(r"^### ", text, flags=re.MULTILINE)
    return {part.partition("\n")[0]: re.findall(r"^\| `([^`]+)` \|", part, re.MULTILINE) for part in parts}


def test_every_document_is_documented_with_all_its_members():
    page = documented()
    for document in DOCUMENTS:
        assert document.name in page
    for name, members in page.items():
        struct = structs().get(name) or getattr(importlib.import_module("tokctl.model.instances"), name, None)
        struct = struct or getattr(importlib.import_module("tokctl.model.definitions"), name)
        assert members == [field.encode_name for field in msgspec.structs.fields(struct)], name


def test_every_struct_is_a_document_or_a_part_of_one():
    bases = {document_name(base) for one in structs().values() for base in one.__mro__[1:] if base is not Struct}
    assert structs().keys() - documented().keys() <= bases


def test_names_are_unique_in_the_documentation():
    text = (ROOT / "docs/scripting.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### (\w+)$", text, re.MULTILINE)
    assert len(headings) == len(set(headings))
    assert set(re.findall(r"\]\(#(\w+)\)", text)) <= {heading.lower() for heading in headings}


def test_every_command_of_the_catalog_is_tried():
    tried = {f"tokctl {line}" for line in COMMANDS}
    elsewhere = {
        "tokctl simulate",  # needs the extra 'spiff'
        "tokctl auth login",  # need a keyring
        "tokctl auth logout",
        "tokctl config set",
        "tokctl config current-context",
        "tokctl config unset",
        "tokctl config use",
        "tokctl config rename",
        "tokctl config delete",
        "tokctl store import",
        "tokctl store backup",
        "tokctl store copy",
        "tokctl store export",
        "tokctl store export -o ndjson",
        "tokctl tokens list -o ndjson",
        "tokctl tokens watch --events",
    }
    for source in (source for document in DOCUMENTS for source in document.sources if source.startswith("tokctl")):
        assert source in elsewhere or any(f"{line} ".startswith(f"{source} ") for line in tried), source
