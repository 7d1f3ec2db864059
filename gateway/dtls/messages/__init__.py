"""Handshake messages: `decode` takes a message's body, `encode` gives it. One family a file."""
