"""A model segments scans."""

WORKER_MODULES = ("ctseg.inference.whole", "ctseg.preprocess.brain", "ctseg.networks.unet")
"""What worker processes that do whole cases import, see `ctseg.parallel.import_for_workers`."""
