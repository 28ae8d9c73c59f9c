"""Deliveries: what is sent to webhooks, by the worker: attempts, retries and concurrency limits."""
