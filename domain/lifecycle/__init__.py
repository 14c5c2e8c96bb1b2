"""What people decide: who they are, which sockets exist, what those shall do; all of it as aggregates' events."""
