"""The subcommands of `sparsebench`, one file each; `sparsebench.cli` puts them together."""
