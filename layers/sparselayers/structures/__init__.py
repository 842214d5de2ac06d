"""Structure among the connections of a layer: found, not declared."""
