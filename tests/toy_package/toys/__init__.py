"""Three problems, a metric and a method that an installed package adds to lop by entry points."""
