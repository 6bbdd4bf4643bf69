"""Python 2 on Python 3: its syntax is translated, what its names and modules meant is given to the translated code."""
