"""Whole models on CIFAR-10: pruned while they train, with masks and in sparse storage.

Uses the settings, records and data of `training`; the loop above trains these networks as others.
"""
