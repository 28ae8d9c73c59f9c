"""The worker: takes jobs from the queue and runs them. What a job does is decided in services."""
