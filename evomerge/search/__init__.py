"""Search: samplers propose parameters, a pool scores the recipes, the store remembers."""
