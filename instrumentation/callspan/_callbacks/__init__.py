"""Callbacks: who is told of a call, what they are told, and that each run is done before there is nowhere to run it."""
