"""`sparsebench train`: its options and what it says meanwhile (`command`), and what they ask for.

`asked` finds the experiment, its rows and its data. Training is done in the room `training`.
"""
