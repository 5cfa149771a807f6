"""Draws BPMN models as SVG, with what happened on them. No file, store or server is read here.

``elements`` reads what a model consists of, ``interchange`` where it draws that. ``layout`` and ``layers`` place the
elements of a model that does not say; ``model`` puts this together. ``shapes``, ``events``, ``icons`` and
``connections`` draw the elements, ``labels`` writes their names, ``activity_marks`` draws what happened. ``drawing``
makes a picture of it all, with the ``style`` for light and dark.
"""
