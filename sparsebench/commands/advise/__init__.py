"""`sparsebench advise`: its options and what it prints (`command`); of `structures` by itself."""
