"""The working halves of the steps: imported only in child processes."""
