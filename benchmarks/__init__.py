"""What is claimed of speed and of faults, to be run again."""
