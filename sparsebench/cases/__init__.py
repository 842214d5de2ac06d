"""What is measured: Case and its problem, the sweeps and filters that ask for cases, the phases.

The lowest room: it uses the library, and of the suite only the modules that stand beside the rooms.
"""
