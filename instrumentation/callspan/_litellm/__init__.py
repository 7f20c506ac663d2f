"""Everything that knows LiteLLM."""
