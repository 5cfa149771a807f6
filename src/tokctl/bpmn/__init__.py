"""BPMN models: reading XML, the process graph, and reconstructing flows that an engine did not record."""
