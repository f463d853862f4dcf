"""What must hold under faults and attack, measured and compared with the reference."""
