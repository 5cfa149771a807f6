"""Writes reports: one HTML file with everything in it, or the pages of a site. No file, store or server is read here.

``page`` fills the templates and adds the policy that forbids the browser everything else. ``instance`` prepares the
parts about a single instance, with its ``problems`` and its ``story``; ``overview`` those about several. ``figures``
makes diagrams, bars and plots part of the page.
"""
