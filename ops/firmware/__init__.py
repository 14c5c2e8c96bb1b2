"""The sockets' own software: built, signed, published, flashed, set up, and run as processes."""
