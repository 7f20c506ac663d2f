"""OTLP presets: a vendor's address, headers and attributes, from the variables that its users have set already.

One file for each vendor; LangSmith's and Langfuse's are :mod:`callspan_exporters.langsmith` and
:mod:`callspan_exporters.langfuse`. ``destinations.md`` says what each reads, sends and adds.
"""
