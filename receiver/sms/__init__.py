"""What is true of SMS, whoever carries it. Pure: no I/O, no clock, no randomness."""
