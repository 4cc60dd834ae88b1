"""What builds will cost, before they start."""
