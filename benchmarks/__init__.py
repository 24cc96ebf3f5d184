"""Work for the same answer at the same error, side by side with the peers: `make bench`, docs/performance.md."""
