"""Widgets that screens share; each takes a frame and shows its part of it."""
