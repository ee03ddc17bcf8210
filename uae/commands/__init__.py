"""The subcommands of `uae`, a file for each group; what is heavy is imported when it is needed."""
