"""`lop report`: a runs directory as one HTML page: what ran, what came out, how to do it again."""
