"""What is shown of training records: tables, plots, and all of both in a `folder`.

Uses what `training` records and the style of `sparsebench.views`; nothing is measured here.
`tables` and `plots` hold those of networks over digits, and gather those of others, each in a file
named after what it shows.
"""
