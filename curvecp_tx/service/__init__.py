"""What twistd runs: options, services, and how they end."""
