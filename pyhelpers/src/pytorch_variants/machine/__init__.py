"""What a machine has, and which variant fits it."""
