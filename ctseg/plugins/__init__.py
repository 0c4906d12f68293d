"""The plugin contract, its host and the built-ins."""
