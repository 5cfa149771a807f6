"""``tokctl demo``."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote

from tokctl.cli import options as opt
from tokctl.cli.app import FILL, App, command
from tokctl.config import default_store
from tokctl.recorder.demo import load_demo
from tokctl.recorder.simulate import simulate
from tokctl.render.human import count
from tokctl.render.result import Cell
from tokctl.render.table import join_line, paint
from tokctl.store.sink import StoreSink

STEPS = (
    ("Which instances are there? ~ marks what was worked out rather than recorded.", "instances list -n 12"),
    (
        "Where does the newest stand? @latest is its name; the beginning of an id does, too.",
        "tokens list @latest",
    ),
    ("The same as a tree: what came from what, and what ran side by side.", "tokens tree @latest"),
    ("The way that it took, beside the clock: what ran when, and what decided how long it all took.", "flow @latest"),
    ("What is wrong, in all that is under way?", "debug --severity high"),
    ("Where does the time go?", "perf --limit 8"),
    (
        "What is still live, in numbers that a script can use.",
        "instances list --live -o csv --columns instance_id,live_tokens",
    ),
)


def demo(app: App) -> None:
    """Run a real order process in a real engine, and look at it.

    It fills a store of its own, beside yours, and shows the commands on it.
    """
    named = app.settings.store if "store" in app.settings.said else None  # TOKCTL_STORE names yours
    location = named or str(default_store().with_name("demo.db"))
    if named is None:
        for suffix in ("", "-wal", "-shm"):
            Path(location + suffix).unlink(missing_ok=True)
    models, scenario = load_demo()
    from tokctl.store import open_store

    with open_store(location, write=True, create=True) as store, StoreSink(store, every=10_000) as sink:
        done = simulate(models, scenario, sink, end=app.now)
    app.tell(f"An order process ran in SpiffWorkflow: {count(done.instances, 'instance')}, "
             f"{count(done.tokens, 'token')}, recorded in {location}.")  # fmt: skip
    for text, line in STEPS:
        said = join_line([Cell(text, "bold")], app.out)
        sys.stdout.write(f"\n{said}\n{paint(f'$ tokctl {line}', 'cyan', app.out)}\n")
        sys.stdout.flush()
        app.run([*line.split(), "--store", location])
    sys.stdout.write(
        f"\n{paint('Go on by yourself:', 'bold', app.out)}\n  export TOKCTL_STORE={quote(location)}\n"
        "  tokctl explain TOKEN                 why does it wait, and on what?\n"
        "  tokctl tokens show @latest TOKEN     everything known of one token\n"
        "  tokctl instances show @latest        an instance, and where it stands\n"
        "  tokctl simulate MODEL.bpmn           your own model\n"
        "  tokctl --help                        all there is\n"
    )


app = command(demo, takes=opt.STORE, panel=FILL, examples=("tokctl demo", "tokctl demo --store /tmp/demo.db"))
