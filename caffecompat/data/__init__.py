"""What surrounds a net's blobs: how images become its input, and the names of its classes."""
