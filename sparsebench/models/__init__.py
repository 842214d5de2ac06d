"""Whole models: which, how pruned, and what sparse layers do for them.

`architectures` makes models by name, `transformers_models` those of transformers, `checkpoints`
gives them weights, `pruning` zeros. `variants` are the forms that are measured side by side,
`measure` measures them, `records` are what is kept, `experiment` and `run` ask for many models,
`views` are the tables. Uses `measuring`, `views`, `analysis` and `records`, and what they use.
"""
