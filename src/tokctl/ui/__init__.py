"""The web pages of ``tokctl serve --ui``: login, list of instances, an instance, a process. They change nothing.

``pages`` has the endpoints, ``instance_list`` reads the list, ``rendering`` fills the templates. The instance and the
process are reports (``tokctl.report``). Sessions are part of the server.
"""
