"""Methods: additions to backprop, one algorithm per file; optimisers; and the re-initialisation of units."""
