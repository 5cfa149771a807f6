"""The file of declared API tokens: what it may say, and the line of each error."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from tokctl.errors import InputError
from tokctl.services.api_tokens.declarations import Declaration, parse_declarations

NOW = datetime(2027, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def parse(text: str) -> list[Declaration]:
    return parse_declarations(text.encode(), "tokens.yaml", NOW)


def test_all_that_can_be_declared():
    full, least = parse(
        """# for the pipeline
apiTokens:
  - name: ci
    description: nightly builds
    type: Full-Access
    scopes: [token, process]
    allowedCidrs: 10.0.0.0/8, 2001:db8::1
    disabled: yes
    expires: 30d
    rotateBefore: 10d
    grace: 0
    save: env-file:.env#CI
  - {name: 7}
"""
    )
    assert (full.line_of("save"), full.line_of("scopes"), least.line_of("scopes")) == (12, 6, 13)
    assert replace(full, lines={}) == Declaration(
        line=3,
        name="ci",
        description="nightly builds",
        type="full-access",
        scopes=("token", "process"),
        allowed_cidrs=("10.0.0.0/8", "2001:db8::1/128"),
        disabled=True,
        lifetime=30 * DAY,
        rotate_before=10 * DAY,
        grace=timedelta(),
        save="env-file:.env#CI",
    )
    assert replace(least, lines={}) == Declaration(line=13, name="7", lifetime=90 * DAY, rotate_before=7 * DAY)


@pytest.mark.parametrize(
    ("expires", "lifetime", "at", "before"),
    [
        ("9d", 9 * DAY, None, 3 * DAY),
        ("never", None, None, 0 * DAY),
        ("2027-06-01", None, datetime(2027, 6, 1, tzinfo=UTC), 0 * DAY),
    ],
)
def test_expiry(expires, lifetime, at, before):
    (one,) = parse(f"apiTokens: [{{name: x, expires: {expires}}}]")
    assert (one.lifetime, one.expires_at, one.rotate_before) == (lifetime, at, before)


def test_an_empty_list_declares_that_there_are_none():
    assert parse("apiTokens: []") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "tokens.yaml is empty. Declare API tokens in the list 'apiTokens'."),
        ("- name: ci", "tokens.yaml, line 1: expected a mapping of names to values."),
        ("\ntokens: []", "tokens.yaml, line 2: unknown name 'tokens'. Valid: apiTokens."),
        ("{}", "tokens.yaml, line 1: 'apiTokens' is missing."),
        ("apiTokens:\n  ci: 1", "tokens.yaml, line 2: expected a list."),
        ("apiTokens:\n- ci", "tokens.yaml, line 2: expected a mapping of names to values."),
        ("apiTokens:\n- name: [", "tokens.yaml, line 2: invalid YAML: "),
        ("apiTokens:\n- type: read-only", "tokens.yaml, line 2: 'name' is missing."),
        ("apiTokens:\n- name:\n", "tokens.yaml, line 2: expected a text."),
        ("apiTokens:\n- name: ci\n  scope: x", "tokens.yaml, line 3: unknown name 'scope' (did you mean 'scopes'?)"),
        ("apiTokens:\n- name: ci\n  lifetime: 3d", "tokens.yaml, line 3: unknown name 'lifetime'"),
        ("apiTokens:\n- name: ci\n  name: cd", "tokens.yaml, line 3: 'name' appears twice."),
        ("apiTokens:\n- name: ci\n- name: ci", "tokens.yaml, line 3: 'ci' is declared already, in line 2."),
        ("apiTokens:\n- name: ci\n  type: [full]", "tokens.yaml, line 3: expected a text."),
        ("apiTokens:\n- name: ci\n  scopes: token,,process", "tokens.yaml, line 3: a scope is empty."),
        ("apiTokens:\n- name: ci\n  allowedCidrs: [10.0.0.1/8]", "line 3: '10.0.0.1/8' has bits of an address"),
        ("apiTokens:\n- name: ci\n  disabled: maybe", "tokens.yaml, line 3: expected true or false."),
        ("apiTokens:\n- name: ci\n  expires: 2026-01-01", "tokens.yaml, line 3: '2026-01-01' is in the past."),
        ("apiTokens:\n- name: ci\n  expires: soon", "tokens.yaml, line 3: "),
        ("apiTokens:\n- name: ci\n  expires: 0s", "tokens.yaml, line 3: '0s' is not a lifetime."),
        ("apiTokens:\n- name: ci\n  expires: 9d\n  rotateBefore: 9d", "line 4: 'rotateBefore' must be shorter than"),
        ("apiTokens:\n- name: ci\n  expires: never\n  rotateBefore: 9d", "line 4: 'rotateBefore' must be shorter"),
        ("apiTokens:\n- name: ci\n  grace: long", "tokens.yaml, line 3: "),
        ("apiTokens:\n- name: !!python/object:os.system ci\n  type: *x", "tokens.yaml, line 3: invalid YAML"),
    ],
)
def test_an_error_names_its_line(text, message):
    with pytest.raises(InputError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
