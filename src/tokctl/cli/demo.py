"""``tokctl demo``."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from shlex import quote
from typing import Annotated

from tokctl.cli import options as opt
from tokctl.cli.app import STORE_PANEL, App, command
from tokctl.cli.prompts import is_interactive, pause
from tokctl.config import default_store
from tokctl.errors import MissingStoreError, UsageError
from tokctl.model.definitions import Definition
from tokctl.model.instances import Instance
from tokctl.model.tokens import Token
from tokctl.render.formats.table import open_writer
from tokctl.render.result import Cell
from tokctl.render.text import count
from tokctl.simulation.demo import load_demo
from tokctl.simulation.simulate import simulate
from tokctl.store import is_temporary, open_store, store_file
from tokctl.store.new_store import is_empty_file

DEMO_STEPS = (
    (
        "Which instances are running?",
        "The newest come first. WHERE lists the elements of their live tokens.",
        "instances list -n 12",
    ),
    (
        "Where is the newest instance now?",
        "@latest is the newest instance. Any unique prefix of an id works, too.",
        "tokens list @latest",
    ),
    ("How did it get there?", "Each token is below the token that it came from.", "tokens tree @latest"),
    (
        "What took the time?",
        "Each token has a bar. The critical path is the chain of tokens that decides how long the instance takes.",
        "flow @latest",
    ),
    (
        "What is wrong?",
        "All running instances with problems, the most severe first.",
        "debug --severity high",
    ),
    ("Which elements are slow?", "Durations of all instances, by element.", "perf --limit 8"),
    (
        "How do scripts read this?",
        "Every command also writes JSON, NDJSON, YAML, CSV and ids.",
        "instances list --live -o csv --columns instance_id,live_tokens",
    ),
)
"""A question, an explanation, and the command that answers it."""


class DemoRecording:
    """Collects the definitions and instances of the demo, with their tokens, as ``recorder.lifecycle.Sink``."""

    def __init__(self) -> None:
        self.definitions: list[Definition] = []
        self.instances: dict[str, tuple[Instance, list[Token]]] = {}

    def put_definition(self, definition: Definition) -> None:
        """Keep a definition."""
        self.definitions.append(definition)

    def put(self, instance: Instance, tokens: Iterable[Token]) -> None:
        """Keep an instance."""
        self.instances[instance.instance_id] = instance, list(tokens)


def demo(
    app: App,
    no_pause: Annotated[bool, opt.flag("--no-pause", "Do not wait for Enter between the steps.")] = False,
) -> None:
    """Run an order process in a real engine and show the main commands on it, step by step.

    The demo has its own store, demo.db beside the default store, or the one given with --store, but not TOKCTL_STORE.
    Running it again updates its own instances and keeps everything else in that store. A store that has only other
    data is refused.
    """
    named = app.settings.store if "store" in app.settings.flag_names else None  # TOKCTL_STORE is the user's own store
    location = named or str(default_store().with_name("demo.db"))
    models, scenario = load_demo()
    recording = DemoRecording()
    done = simulate(models, scenario, recording, end=app.now)
    _check_store(location, recording.instances)
    with open_store(location, write=True, create=True) as store, store.write() as batch:
        for definition in recording.definitions:
            batch.put_definition(definition)
        for instance, tokens in recording.instances.values():
            batch.put(instance, tokens)
    app.notify(
        f"An order process ran in SpiffWorkflow: {count(done.instances, 'instance')}, "
        f"{count(done.tokens, 'token')}, recorded in {location}."
    )
    writer = open_writer(app.out)
    for number, (question, explanation, line) in enumerate(DEMO_STEPS, 1):
        writer.line(())
        writer.line([Cell(f"{number} of {len(DEMO_STEPS)}: {question}", "bold")])
        writer.line([Cell(explanation)])
        writer.line([Cell(f"$ tokctl {line}", "cyan")])
        sys.stdout.flush()
        app.run([*line.split(), "--no-pager", "--store", location])
        if not no_pause and is_interactive() and sys.stdout.isatty() and not pause("Enter: next step, q: quit"):
            break
    writer.line(())
    writer.line([Cell("Next steps:", "bold")])
    sys.stdout.write(
        f"  export TOKCTL_STORE={quote(location)}\n"
        "  tokctl explain TOKEN              why a token waits, and for what\n"
        "  tokctl tokens show @latest TOKEN  all details of a token\n"
        "  tokctl instances show @latest     an instance and where it is now\n"
        "  tokctl simulate MODEL.bpmn        run your own model\n"
        "  tokctl --help                     all commands\n"
    )


def _check_store(location: str, instance_ids: Collection[str]) -> None:
    """Raise UsageError for a store that has data, but no instance of the demo: it is not the demo's store."""
    file = store_file(location)
    if is_temporary(location):
        raise UsageError(f"the demo cannot use {location}: its commands need a file.", "Name one with --store.")
    if file is not None and is_empty_file(file):
        return
    try:
        store = open_store(location)
    except MissingStoreError:
        return
    with store:
        info, api_tokens = store.info(), store.api_tokens.count()
        if not (info.instances or info.definitions or api_tokens):
            return
        if any(instance_id in instance_ids for instance_id in store.all_instance_ids()):
            return
    held = f"{count(info.instances, 'instance')}, {count(api_tokens, 'API token')}"
    raise UsageError(f"the store {location} has other data ({held}).", "Name a new file with --store.")


app = command(
    demo,
    shared_options=opt.STORE,
    panel=STORE_PANEL,
    examples=("tokctl demo", "tokctl demo --no-pause", "tokctl demo --store /tmp/demo.db"),
)
