"""Servers on loopback which the tests talk to instead of the network: real sockets, real protocols, chosen faults."""
