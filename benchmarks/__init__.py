"""Measured results and what is made from them."""
