"""What the business knows: readings, devices, events and their rules. Pure: no I/O and no framework."""
