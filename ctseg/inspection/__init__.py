"""What a path holds, whether it is sound, and what can be done with it next: for `ctseg inspect`."""
