"""Which release this firmware is. An update image brings its own copy of this file."""

VERSION = "1.0.0"
# Grows with every release and never goes back: a socket installs nothing with a lower one.
COUNTER = 1
