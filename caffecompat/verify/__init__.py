"""Comparing a net, blob by blob, with what another program computes for the same input."""
