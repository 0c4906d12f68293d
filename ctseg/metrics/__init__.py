"""Every number that is measured on masks."""
