"""Draws BPMN models as SVG, with what happened on them. No file, store or server is read here.

``interchange`` reads where a model draws its elements, ``layout`` places those of a model that does not say.
``elements`` reads what they are. ``shapes``, ``icons``, ``events`` and ``connections`` draw them, ``labels`` writes
their names, ``activity_marks`` draws what happened, and ``drawing`` makes a picture of it all.
"""
