"""Finding problems: the debug rules, and the runner that applies them."""
