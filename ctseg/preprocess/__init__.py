"""A volume becomes slices."""
