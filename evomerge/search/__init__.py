"""Search: samplers propose parameters, a pool scores the recipes, the store remembers, the front is read off the store."""
