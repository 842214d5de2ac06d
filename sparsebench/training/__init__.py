"""One module per experiment, and the sweeps that the suite ships."""
