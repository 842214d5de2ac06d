"""Whole models on CIFAR-10: pruned while they train, with masks and in sparse storage.

`formats` measures what a pruned one takes in every format, and `format_records` keeps that. Uses
the settings, records and data of `training`; the loop above trains these networks as others.
"""
