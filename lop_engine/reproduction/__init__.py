"""Published claims, and whether runs agree with them."""
