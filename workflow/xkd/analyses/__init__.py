"""What trained networks are asked after training: the computing part of the analyses."""
