"""Writes reports: one HTML file with everything in it. No file, store or server is read here.

``page`` fills the templates and adds the policy that forbids the browser everything else. ``instance`` prepares the
parts about a single instance, ``overview`` those about several; ``figures`` makes diagrams and bars part of the page.
"""
