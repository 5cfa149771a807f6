"""Output formats for programs and for people, one module each."""
