"""The subcommands of `sparsebench`, one thin file each, or a folder; `sparsebench.cli` lists them.

They take options apart, ask one of the rooms for what is wanted, and print what came of it. Uses
every room, and no room uses it.
"""
