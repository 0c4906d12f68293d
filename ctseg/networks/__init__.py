"""Networks: numbers and modules in, modules out."""
