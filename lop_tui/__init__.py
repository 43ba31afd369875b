"""Command line and dashboard of lop. This package does not import torch."""
