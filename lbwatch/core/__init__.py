"""What is decided: pure, no I/O, no clock, no log; arguments in, values out."""
