"""Parts of the safe evaluator; ``tokctl.recorder.safe_evaluation`` is its interface."""
