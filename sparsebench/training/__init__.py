"""Whole networks trained: the settings that an experiment's file asks for, their runs and records.

Uses `views`, `measuring`, `analysis`, `records` and `cases`; the commands alone use it, and its
chapters join the report when they are imported.
"""
