"""A model segments scans."""
