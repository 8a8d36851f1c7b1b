"""What may break around the receiver, broken on purpose: each fault in a short form for `make test` and a long one."""
