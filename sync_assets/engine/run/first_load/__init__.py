"""A first load by pieces, each under a short snapshot of its own, that goes on where it was ended."""
