"""What runs, conditions and losses may be called: names that become those of folders."""

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Of every such name; those of runs stand in generated code, too."""
