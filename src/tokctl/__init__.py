"""tokctl: where BPMN process instances stand, and the API tokens that guard them.

The package's parts and the way imports run between them are described in the README's
section on the plan of the house; ``tokctl.cli`` is the command line.
"""

__version__ = "0.1.0"
