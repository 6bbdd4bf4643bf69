"""What the commands that pass pictures through a net share; the commands themselves are one level up."""
