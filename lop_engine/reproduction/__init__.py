"""What published work claims, and whether runs agree."""
