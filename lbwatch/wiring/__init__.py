"""Builds all parts from `Settings`: the only place that knows every room."""
