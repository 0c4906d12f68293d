"""The embedded cohort."""
