"""The parts of the screens; each is given a frame and shows its part of it."""
