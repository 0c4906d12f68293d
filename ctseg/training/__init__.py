"""What every training shares: device, sampling, the epoch loop, settings and presets."""
