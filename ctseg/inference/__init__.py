"""A model outlines scans."""
