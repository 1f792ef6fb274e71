//! RESP2 and RESP3 to values and back. No sockets, no commands.
