"""Sweeps on the workers of a Dask cluster: who is there, what goes where, what comes back.

Uses `measuring`, `records` and `cases`, and Dask where it is installed. The unit of work is a
contest: all cases of one problem, threads aside. The client (`dispatcher`) places each on one
worker, takes in the records as they come, and is the only one to write them. On the worker
(`member`) a process of our own (`agent`) measures it as a local run would. What crosses the wire
are the frozen dataclasses of `messages`, as JSON.
"""
