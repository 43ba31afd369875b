"""This machine: its devices, their load, and what is wrong with an installation."""
