"""How a layer's costs grow with its size: time and bytes per connection, up to 10⁸ of them.

`records` are its cases and costs, `measure` takes those of one layer, `run` those of many, `views`
are its tables and plots. Uses `measuring`, `views` and `records`.
"""
