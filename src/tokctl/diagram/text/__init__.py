"""Draws models as text for a terminal, with what happened on them: boxes, lines, and the names of the elements.

``canvas`` is the grid of characters. ``boxes`` writes an element into a box. ``rows`` puts boxes into rows that fit
the width, ``nets`` finds the ways of the flows between them, ``level`` draws both, ``drawing`` all processes.
"""
