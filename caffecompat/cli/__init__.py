"""The command line: click commands, each imported when it is called (see `cli.main`)."""
