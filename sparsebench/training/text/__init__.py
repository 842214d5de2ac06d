"""Networks that predict the next character of a text: dense, and with sparse feed-forward parts.

Uses the settings, records and data of `training`; the loop above trains these networks as others.
"""
