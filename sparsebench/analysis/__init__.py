"""What records say: points, metrics, intervals, crossovers, leagues, comparisons.

Uses `records` and `cases`; measures nothing and draws nothing.
"""
