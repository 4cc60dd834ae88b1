"""What the flake is pinned to: looking, updating, checking."""
