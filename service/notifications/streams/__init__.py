"""Live streams of notifications: open streams (subscribers), and tickets to open one from a browser."""
