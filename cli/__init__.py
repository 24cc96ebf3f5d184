"""The command line of landscape: one command a file, one error boundary in `main`."""
