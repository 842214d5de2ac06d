"""What is shown of records: tables, plots, the page, exports to other formats.

Uses `analysis`, `records` and `cases`; it reads, and never measures. What is asked beside sweeps
(training, `scale`, the `regression` check) has tables and plots of its own, in its own room.
"""
