"""Limits on what may be spent, held before a request is sent."""
