"""A stored span as events of PostHog's LLM analytics."""
