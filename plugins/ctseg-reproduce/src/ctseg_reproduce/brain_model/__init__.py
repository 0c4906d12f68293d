"""The brain network of `ctseg preprocess --brain brain-network`: how its weights are made and measured."""
