"""What stands in for what takes long in processes that measure: they import it by its name."""


def probe(device, dtype, threads):
    """In place of `roofline.probe`, which keeps the cores busy for seconds."""
    return {"matmul_gflops": 1.0}
