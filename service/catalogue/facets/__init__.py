"""Facets: how many items have each value of their attributes, under the filters of the list."""
