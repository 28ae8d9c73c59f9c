"""Jobs: the queue in the database, and the worker that claims and runs them. What they do domains decide."""
