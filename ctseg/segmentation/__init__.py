"""Stage 2: domain-adversarial segmentation."""
