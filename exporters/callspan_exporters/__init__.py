"""Delivery for OpenTelemetry spans: every ended span is stored before anything else happens to it, and arrives."""
