"""Known answers: the program that made them, and one that checks them."""
