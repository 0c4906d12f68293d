"""Pictures: slices, outlines and curves."""
