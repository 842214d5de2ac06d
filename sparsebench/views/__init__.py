"""What is shown of records: tables, plots, the page, exports to other formats.

Uses `analysis`, `records` and `cases`; it reads, and never measures.
"""
