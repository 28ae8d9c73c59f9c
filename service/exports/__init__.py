"""Exports: all orders, items or customers as one long response, for back offices."""
