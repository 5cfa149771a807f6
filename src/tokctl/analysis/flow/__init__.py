"""The flow of an instance through its model: paths, critical path, concurrency, bottlenecks."""
