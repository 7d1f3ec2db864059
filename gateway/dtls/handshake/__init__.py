"""The handshake (RFC 5246 section 7.4 over RFC 6347 section 4.2), server and client.

Two machines that know nothing of each other: the *states* say which message may come next and what it means; the
*flight* says which bytes go out, in which pieces, and when again. A driver (`server`, `client`) holds the two together.
"""
