"""How the network for blood outside the brain's tissue is made and measured: phantom patients, training, numbers."""
