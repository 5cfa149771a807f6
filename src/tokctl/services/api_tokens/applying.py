"""Makes the API tokens of a registry as they are declared: plans what differs, then creates, updates, rotates, revokes.

Each step is one of the services with custody, so an interruption loses no secret: the next run continues. A second run
over the same file changes nothing. An API token that is not declared is reported, and revoked only on request.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tokctl.api_tokens.custody.creation import IssuedToken, TokenSecretSink
from tokctl.api_tokens.custody.ledger import DONE
from tokctl.api_tokens.custody.reconciliation import accepts, reconcile
from tokctl.api_tokens.custody.sinks import VaultSink, is_readable
from tokctl.api_tokens.registries.protocol import ApiTokenSpec, Registry, UnsupportedChangeError
from tokctl.api_tokens.secrets import fingerprint
from tokctl.errors import InputError, TokctlError
from tokctl.model.api_tokens import EXPIRED, ApiToken
from tokctl.model.durations import format_timedelta
from tokctl.services.api_tokens.declaration_checks import DeclarationChecks
from tokctl.services.api_tokens.declarations import Declaration
from tokctl.services.api_tokens.rotation import Expiry, Rotation, RotationResult, find_rotated_token
from tokctl.services.api_tokens.succession import Successions

CREATE, UPDATE, ROTATE, REVOKE, UNCHANGED, UNDECLARED = (
    "create",
    "update",
    "rotate",
    "revoke",
    "unchanged",
    "undeclared",
)
"""Actions of a step. UNCHANGED and UNDECLARED do nothing."""
CHANGING = frozenset({CREATE, UPDATE, ROTATE, REVOKE})
_TOLERANCE = timedelta(seconds=1)  # some servers keep times to the second
_CLOCK_TOLERANCE = timedelta(minutes=10)  # the clock of a server that adds the lifetime itself


class Step(Struct, frozen=True, kw_only=True):
    """A change of an API token, as planned or as made.

    ``declaration`` has the type and the scopes as the registry names them. ``token`` is the API token that was found,
    and afterwards its new version; None if there is none. ``changes`` has the new values by field, ``before`` the old
    ones. ``reason`` says why it is rotated, ``error`` why the step failed, or why it cannot be performed.
    """

    action: str
    name: str
    declaration: Declaration | None = None
    token: ApiToken | None = None
    changes: Mapping[str, Any] = {}
    before: Mapping[str, Any] = {}
    reason: str = ""
    is_lost: bool = False  # nobody can use it, so that a rotation needs no grace
    resumes: str | None = None  # the id of the API token whose rotation was interrupted
    saved: str | None = None
    error: TokctlError | None = None


class DeclarationApplier:
    """Compares declarations with a registry, and applies them. ``source`` is the name of their file in errors."""

    def __init__(self, rotation: Rotation, source: str, open_sink: Callable[[str], TokenSecretSink]) -> None:
        self.rotation = rotation
        self.custody = rotation.custody
        self.registry: Registry = rotation.registry
        self.checks = DeclarationChecks(self.registry, source)
        self.open_sink = open_sink

    def plan(self, declarations: Sequence[Declaration], now: datetime, *, prune: bool) -> list[Step]:
        """Return a step for each declaration, in their order, and for each API token that is not declared.

        Raises:
            InputError: the registry does not support what is declared, or two API tokens share a place.
            TokctlError: the registry cannot be read.
        """
        declarations = [self.checks.check(one) for one in declarations]
        self._check_places(declarations)
        orphans = {str(token.id) for token in reconcile(self.registry, self.custody.ledger, now).orphans}
        named: defaultdict[str, list[ApiToken]] = defaultdict(list)
        for token in self.registry.list():
            named[token.name].append(token)
        steps = [self._plan_one(one, named.pop(one.name, []), orphans, now) for one in declarations]
        left = [token for tokens in named.values() for token in tokens]
        own = self.registry.caller_id() if left else None
        for token in left:
            is_own = str(token.id) == own
            reason = "it is the credential of this command" if is_own else ""
            action = REVOKE if prune and not is_own else UNDECLARED
            steps.append(Step(action=action, name=token.name, token=token, reason=reason))
        return steps

    def run(self, steps: Sequence[Step], tell: Callable[[int, Step], None]) -> None:
        """Perform the steps. If one fails, it gets an error, and the next ones are performed.

        ``tell`` is called with the number of a step and the step with its result, before deferred signals are
        delivered; again after a further change. If a step failed, undeclared API tokens are not revoked.
        """
        failed = False
        for number, step in enumerate(steps):
            if step.action == REVOKE and failed:
                tell(number, replace(step, action=UNDECLARED))
            elif step.action not in CHANGING:
                tell(number, step)
            else:
                try:
                    if step.error is not None:
                        raise step.error
                    self._perform(step, partial(tell, number))
                except TokctlError as error:
                    tell(number, replace(step, error=error))
                    failed = True

    # --- planning ---

    def _check_places(self, declarations: Sequence[Declaration]) -> None:
        places: dict[str, Declaration] = {}
        for one in declarations:
            with self.checks.line_of(one, "save"):
                sink = self.open_sink(one.save)
                other = places.setdefault(sink.name, one)
                if other is not one and sink.name != "keyring" and is_readable(sink.name):
                    raise InputError(
                        f"the secret of '{other.name}' in line {other.line} is saved in {sink.where}, too.",
                        "Give each API token a place of its own.",
                    )

    def _plan_one(self, wanted: Declaration, named: Sequence[ApiToken], orphans: set[str], now: datetime) -> Step:
        token = self._choose(named)
        if token is None:
            with self.checks.line_of(wanted, "expires"):
                self.registry.check_expiry(_end(wanted, now))
            return Step(action=CREATE, name=wanted.name, declaration=wanted)
        changes = self._find_changes(wanted, token, now)
        reason, resumes = "", None
        if not wanted.disabled:
            resumes = self._find_interrupted(named)
            reason = "its rotation was interrupted" if resumes else self._find_reason(wanted, token, orphans, now)
        self.checks.check_changes(wanted, token, changes, has_successor=bool(reason))
        return Step(
            action=ROTATE if reason else UPDATE if changes else UNCHANGED,
            name=wanted.name,
            declaration=wanted,
            token=token,
            changes=changes,
            before={name: getattr(token, name) for name in changes},
            reason=reason,
            is_lost=str(token.id) in orphans or token.state(now) == EXPIRED,
            resumes=resumes,
            error=self._find_obstacle(wanted, token, now) if reason else None,
        )

    def _find_obstacle(self, wanted: Declaration, token: ApiToken, now: datetime) -> TokctlError | None:
        """Return why an API token that is due cannot be rotated; None if it can."""
        due = self._find_due(wanted, token, now)
        if not due or self.registry.capabilities().grace:
            return None
        return UnsupportedChangeError(
            f"API token {token.id} '{token.name}': {due}, and a rotation in {self.registry.where} does not extend it.",
            "Revoke it, and apply the file again to create another one.",
        )

    def _find_interrupted(self, named: Sequence[ApiToken]) -> str | None:
        """Return the id of the API token whose rotation was interrupted; None if there is none."""
        for token in named:
            entry = self.custody.ledger.find_successor(self.registry, token)
            if entry is not None and entry.step != DONE:
                return entry.replaces
        return None

    def _choose(self, named: Sequence[ApiToken]) -> ApiToken | None:
        """Return the API token that a name means: the end of a chain of rotations, or else the newest."""
        if not named:
            return None
        newest = Successions(self.registry).find_newest(named)
        return newest or max(named, key=lambda token: (token.created_at, str(token.id).zfill(20)))

    def _find_changes(self, wanted: Declaration, token: ApiToken, now: datetime) -> dict[str, Any]:
        can = self.registry.capabilities()
        found: dict[str, Any] = {}
        if (token.description or None) != wanted.description:
            found["description"] = wanted.description
        if token.type != wanted.type:
            found["type"] = wanted.type
        scopes = wanted.scopes or self.registry.default_scopes
        tolerance = _TOLERANCE if can.change_expiry else _CLOCK_TOLERANCE
        if can.scopes and set(token.scopes or ()) != set(scopes):
            found["scopes"] = scopes
        if can.allowed_cidrs and set(token.allowed_cidrs or ()) != set(wanted.allowed_cidrs):
            found["allowed_cidrs"] = wanted.allowed_cidrs
        if can.disabling and bool(token.disabled) != wanted.disabled:
            found["disabled"] = wanted.disabled
        if wanted.lifetime is None:
            until = wanted.expires_at
            differs = until != token.expires_at and (
                until is None or token.expires_at is None or abs(until - token.expires_at) > tolerance
            )
        else:  # any expiry within the lifetime is right: it is prolonged by a rotation only
            until = _end(wanted, now)
            differs = until is not None and (token.expires_at is None or token.expires_at > until + tolerance)
        return found | ({"expires_at": until} if differs else {})

    def _find_reason(self, wanted: Declaration, token: ApiToken, orphans: set[str], now: datetime) -> str:
        """Return why an API token is to be rotated; empty if it is not. Raises TokctlError: its place is unreadable."""
        if str(token.id) in orphans:
            return "its secret is lost"
        if due := self._find_due(wanted, token, now):
            return due
        sink = self.open_sink(wanted.save)
        return "" if self._is_saved(sink, token) else f"its secret is not in {sink.where}"

    def _find_due(self, wanted: Declaration, token: ApiToken, now: datetime) -> str:
        """Return why an API token needs a later expiry; empty if it does not."""
        if wanted.lifetime is None or token.expires_at is None:
            return ""
        left = token.expires_at - now
        if left <= timedelta():
            return "it has expired"
        return f"it expires in {format_timedelta(left)}" if left <= wanted.rotate_before else ""

    def _is_saved(self, sink: TokenSecretSink, token: ApiToken) -> bool:
        """Return whether the secret of an API token is in a place, as far as that can be known here.

        Raises TokctlError: the place cannot be read, or the registry cannot be asked.
        """
        entry = self.custody.ledger.find_entry(self.registry, token)
        if not is_readable(sink.name):
            return entry is None or entry.place == sink.name
        secret = VaultSink(sink.name, self.registry.origin).read_current(str(token.id))
        if secret is None:
            return False
        if token.token:
            return secret.startswith(token.token.rstrip(".…"))
        if entry is not None and entry.digest is not None:
            return fingerprint(secret) == entry.digest
        return accepts(self.registry, secret, token)  # without a mask or a digest, using it is the only way

    # --- performing ---

    def _perform(self, step: Step, tell: Callable[[Step], None]) -> None:
        wanted, token = step.declaration, step.token
        if wanted is None:
            if token is not None:
                self.rotation.revoke(token, "it is not declared")
            tell(step)
        elif token is None:
            self._create(step, wanted, tell)
        elif step.action == ROTATE:
            self._rotate(step, wanted, token, tell)
        else:
            tell(replace(step, token=self.registry.update(str(token.id), step.changes)))

    def _create(self, step: Step, wanted: Declaration, tell: Callable[[Step], None]) -> None:
        spec = ApiTokenSpec(
            name=wanted.name,
            type=wanted.type,
            description=wanted.description,
            scopes=wanted.scopes or None,
            allowed_cidrs=wanted.allowed_cidrs,
            expires_at=_end(wanted, self.custody.clock()),
        )
        place = self.open_sink(wanted.save)

        def report(issued: IssuedToken) -> None:
            tell(replace(step, token=issued.token, saved=place.name))

        made = self.custody.create(spec, place, report=report).token
        if wanted.disabled:
            disabled = self.registry.update(str(made.id), {"disabled": True})
            tell(replace(step, token=disabled, saved=place.name))

    def _rotate(self, step: Step, wanted: Declaration, token: ApiToken, tell: Callable[[Step], None]) -> None:
        """Rotate an API token. Its successor gets the changes; only to be rotated, it has to be enabled first."""
        if "disabled" in step.changes:
            token = self.registry.update(str(token.id), {"disabled": False})
        old = token if step.resumes is None else find_rotated_token(self.registry, self.rotation, step.resumes)

        def report(result: RotationResult) -> None:
            tell(replace(step, token=result.new, saved=result.entry.place))

        until: Expiry = "as before"  # the expiry of an API token that gets a new secret in place
        if self.registry.capabilities().grace:
            until = _end(wanted, self.custody.clock()) or "never"
        grace = timedelta() if step.is_lost else wanted.grace
        done = self.rotation.run(old, wanted.save, grace=grace, expires_at=until, report=report)
        if done.resumed and not self._is_saved(self.open_sink(wanted.save), done.new):
            # The interrupted run saved the secret elsewhere: in a file, after this place had failed.
            done = self.rotation.run(done.new, wanted.save, grace=grace, expires_at=until, report=report)
        if changes := self._find_changes(wanted, done.new, self.custody.clock()):
            new = self.registry.update(str(done.new.id), changes)
            tell(replace(step, token=new, saved=done.entry.place))


def _end(wanted: Declaration, now: datetime) -> datetime | None:
    """Return when a declared API token expires that is created now; None for never."""
    if wanted.lifetime is None:
        return wanted.expires_at
    return (now + wanted.lifetime).replace(microsecond=0)
