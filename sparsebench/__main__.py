"""`python -m sparsebench` is the `sparsebench` command."""

from sparsebench.cli import main

if __name__ == "__main__":
    main()
