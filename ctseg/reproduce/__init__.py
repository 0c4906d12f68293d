"""The paper's Tables 2 to 5 as studies of ctseg's own commands."""
