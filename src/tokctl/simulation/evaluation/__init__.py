"""Parts of the safe evaluator; ``tokctl.simulation.safe_evaluation`` is its interface."""
