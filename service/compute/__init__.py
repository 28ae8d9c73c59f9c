"""A CPU load for rehearsals."""
