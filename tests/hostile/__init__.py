"""What attackers may try: packets of every kind, at every time, from everywhere."""
