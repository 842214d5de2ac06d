"""How a layer's costs grow with its size: time and bytes per connection, up to 10⁸ of them."""
