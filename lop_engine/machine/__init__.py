"""This machine: its devices, their load, and checks of the installation."""
