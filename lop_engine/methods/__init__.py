"""Methods: what is added to backprop, one algorithm a file; optimisers; and the re-initialisation of units."""
