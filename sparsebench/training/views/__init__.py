"""What is shown of training records: tables, plots, and both at once; nothing is measured here."""
