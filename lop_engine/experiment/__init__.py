"""An experiment file, and the components that it names: described here, without torch."""
