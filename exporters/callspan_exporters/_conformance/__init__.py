"""What `callspan_exporters.conformance` is made of."""
