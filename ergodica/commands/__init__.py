"""The commands of the command line, a file each, and what they share. What is heavy is imported when a command runs."""
