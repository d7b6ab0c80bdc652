"""Sequential recommendation in Keras: Meta-SGCL, from an interaction log to a served ranking."""

__version__ = "0.1.0"
